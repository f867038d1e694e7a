{{- define "trimtab.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods of one part: (list $ "gateway"). */}}
{{- define "trimtab.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* A pod's labels: nothing of a version, so that an upgrade starts again only what it changes. */}}
{{- define "trimtab.podLabels" -}}
{{ include "trimtab.selector" . }}
app.kubernetes.io/part-of: trimtab
{{- end -}}

{{- define "trimtab.labels" -}}
{{- $root := index . 0 -}}
{{ include "trimtab.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: trimtab
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{/* metadata of an object: (list $ component name-suffix). */}}
{{- define "trimtab.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "trimtab.fullname" $root }}-{{ index . 2 }}
namespace: {{ $root.Release.Namespace }}
labels: {{- include "trimtab.labels" (list $root (index . 1)) | nindent 2 }}
{{- end -}}

{{/* One of the project's images: (list $ "light"). */}}
{{- define "trimtab.image" -}}
{{- $root := index . 0 -}}
{{- $image := $root.Values.image -}}
{{- $name := index $image (index . 1) -}}
{{- with $image.registry }}{{ . | trimSuffix "/" }}/{{ end }}{{ $name }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}

{{- define "trimtab.imagePullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* PodSecurity "restricted", for the pod and for each container. (list $ uid) and nothing. */}}
{{- define "trimtab.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "trimtab.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* The user that the project's images run as. */}}
{{- define "trimtab.uid" -}}10001{{- end -}}

{{/* Where each part answers inside the cluster. */}}
{{- define "trimtab.host" -}}
{{ include "trimtab.fullname" (index . 0) }}-{{ index . 1 }}
{{- end -}}

{{- define "trimtab.kafka" -}}
{{- if .Values.kafka.trial.enabled -}}
{{ include "trimtab.fullname" . }}-kafka:9092
{{- else -}}
{{ .Values.kafka.bootstrapServers }}
{{- end -}}
{{- end -}}

{{- define "trimtab.mlflow" -}}
{{- if .Values.mlflow.trial.enabled -}}
http://{{ include "trimtab.fullname" . }}-mlflow:5000
{{- else -}}
{{ .Values.mlflow.url | trimSuffix "/" }}
{{- end -}}
{{- end -}}

{{- define "trimtab.postgresql.host" -}}
{{- if .Values.postgresql.trial.enabled -}}
{{ include "trimtab.fullname" . }}-postgresql
{{- else -}}
{{ .Values.postgresql.host }}
{{- end -}}
{{- end -}}

{{- define "trimtab.postgresql.secret" -}}
{{- if .Values.postgresql.trial.enabled -}}
{{ include "trimtab.fullname" . }}-postgresql
{{- else -}}
{{ .Values.postgresql.existingSecret }}
{{- end -}}
{{- end -}}

{{- define "trimtab.secret" -}}
{{ .Values.secrets.existingSecret | default (printf "%s-secrets" (include "trimtab.fullname" .)) }}
{{- end -}}

{{/* The database of one owner: (list $ "drift"). PostgreSQL's password comes by PGPASSWORD, so that it stands
in no URL and needs no escaping. */}}
{{- define "trimtab.databaseUrl" -}}
{{- $root := index . 0 -}}
{{- if eq $root.Values.state "sqlite" -}}
sqlite:////var/lib/trimtab/state/{{ index . 1 }}.db
{{- else -}}
{{- $pg := $root.Values.postgresql -}}
{{- $port := ternary 5432 $pg.port $pg.trial.enabled | int -}}
postgresql+psycopg://{{ $pg.user }}@{{ include "trimtab.postgresql.host" $root }}:{{ $port }}/{{ $pg.prefix }}{{ index . 1 }}
{{- end -}}
{{- end -}}

{{/* The weights below the volume of models. */}}
{{- define "trimtab.model" -}}
{{ (index . 0).Values.models.path | trimSuffix "/" }}/{{ index . 1 }}
{{- end -}}

{{/* Every base model by its served name, as a JSON object. */}}
{{- define "trimtab.bases" -}}
{{- $root := . -}}
{{- $found := dict -}}
{{- range $name, $folder := .Values.models.others }}
{{- $_ := set $found $name (include "trimtab.model" (list $root $folder)) -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}

{{- define "trimtab.tls" -}}
{{- if .Values.tls.enabled }}on{{ end -}}
{{- end -}}

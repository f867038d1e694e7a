{{/* Files. /var/lib/trimtab is the pod's own; what services share is mounted below it, or at a path of its own. */}}
{{- define "trimtab.paths" -}}
adapters: /adapters
archive: /var/lib/trimtab/archive
training: /var/lib/trimtab/retrain
state: /var/lib/trimtab/state
{{- end -}}

{{/* The volumes of `storage` that a service mounts, as a dict of name -> "read" or "write". */}}
{{- define "trimtab.shared" -}}
{{- $found := dict -}}
{{- range .of.reads | default list }}{{ $_ := set $found . "read" }}{{ end -}}
{{- range .of.writes | default list }}{{ $_ := set $found . "write" }}{{ end -}}
{{- if .root.Values.interaction.archiveUrl }}{{ $_ := unset $found "archive" }}{{ end -}}
{{- if and .of.database (eq .root.Values.state "sqlite") }}{{ $_ := set $found "state" "write" }}{{ end -}}
{{- $found | toJson -}}
{{- end -}}

{{- define "trimtab.mounts" -}}
{{- $root := .root -}}
{{- $paths := include "trimtab.paths" $root | fromYaml -}}
- {name: tmp, mountPath: /tmp}
- {name: data, mountPath: /var/lib/trimtab}
{{- range $volume, $how := include "trimtab.shared" . | fromJson }}
- {name: {{ $volume }}, mountPath: {{ index $paths $volume }}, readOnly: {{ eq $how "read" }}}
{{- end }}
{{- if .of.models }}
- {name: models, mountPath: {{ $root.Values.models.path }}, readOnly: true}
{{- end }}
{{- if $root.Values.settings.redaction }}
- {name: redaction, mountPath: /etc/trimtab/redaction, readOnly: true}
{{- end }}
{{- if $root.Values.tls.enabled }}
- {name: tls, mountPath: /etc/trimtab/tls, readOnly: true}
{{- end }}
{{- if and (eq .name "retrain") (ne $root.Values.retrain.trainer "process") }}
- {name: training-job, mountPath: /etc/trimtab/training, readOnly: true}
{{- end }}
{{- with concat $root.Values.pods.volumeMounts (.values.extra.volumeMounts | default list) }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "trimtab.volumes" -}}
{{- $root := .root -}}
- {name: tmp, emptyDir: {}}
- {name: data, emptyDir: {}}
{{- range $volume, $how := include "trimtab.shared" . | fromJson }}
- name: {{ $volume }}
  {{- include "trimtab.storage" (list $root $volume) | nindent 2 }}
{{- end }}
{{- if .of.models }}
- name: models
  {{- include "trimtab.volumeSource" $root.Values.models.volume | nindent 2 }}
{{- end }}
{{- if $root.Values.settings.redaction }}
- {name: redaction, configMap: {name: {{ include "trimtab.host" (list $root "redaction") }}}}
{{- end }}
{{- if $root.Values.tls.enabled }}
- {name: tls, secret: {secretName: {{ include "trimtab.host" (list $root (printf "%s-tls" .name)) }}}}
{{- end }}
{{- if and (eq .name "retrain") (ne $root.Values.retrain.trainer "process") }}
- {name: training-job, configMap: {name: {{ include "trimtab.host" (list $root "training-job") }}}}
{{- end }}
{{- with concat $root.Values.pods.volumes (.values.extra.volumes | default list) }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A volume source without what a later values file has set to null. */}}
{{- define "trimtab.volumeSource" -}}
{{- $found := dict -}}
{{- range $kind, $source := . | default dict -}}
{{- if not (kindIs "invalid" $source) }}{{ $_ := set $found $kind $source }}{{ end -}}
{{- end -}}
{{- if $found }}{{ toYaml $found }}{{ end -}}
{{- end -}}

{{/* One volume of `storage`, as a volume source: (list $ "adapters"). */}}
{{- define "trimtab.storage" -}}
{{- $root := index . 0 -}}
{{- $one := index $root.Values.storage (index . 1) -}}
{{- if and (eq (index . 1) "adapters") $root.Values.storage.adapterSync.url -}}
emptyDir: {}
{{- else if include "trimtab.volumeSource" $one.volume -}}
{{ include "trimtab.volumeSource" $one.volume }}
{{- else -}}
persistentVolumeClaim: {claimName: {{ $one.existingClaim | default (include "trimtab.host" $) }}}
{{- end -}}
{{- end -}}

{{/* The container that keeps /adapters as the storage says; the others start once it has brought all: $root. */}}
{{- define "trimtab.mirror" -}}
{{- if .Values.storage.adapterSync.url -}}
- name: adapters
  image: {{ include "trimtab.image" (list . "light") }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  restartPolicy: Always
  command: [python, -m, services.registry.mirror]
  {{- include "trimtab.syncSecret" . | nindent 2 }}
  env:
    - {name: TRIMTAB_ADAPTER_DIR, value: /adapters}
    {{- include "trimtab.syncEnv" . | nindent 4 }}
  startupProbe:
    exec: {command: [test, -e, /adapters/.mirrored]}
    periodSeconds: 1
    failureThreshold: 600
  resources: {{- toYaml .Values.storage.adapterSync.resources | nindent 4 }}
  securityContext: {{- include "trimtab.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
    - {name: adapters, mountPath: /adapters}
{{- end -}}
{{- end -}}

{{- define "trimtab.syncEnv" -}}
- {name: TRIMTAB_ADAPTER_URL, value: {{ .Values.storage.adapterSync.url | quote }}}
{{- range $variable, $value := .Values.storage.adapterSync.env }}
- {name: {{ $variable }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{- define "trimtab.syncSecret" -}}
{{- with .Values.storage.adapterSync.secret -}}
envFrom:
  - secretRef: {name: {{ . }}}
{{- end -}}
{{- end -}}

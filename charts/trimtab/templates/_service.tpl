{{/* Everything that one service is made of: (list $ "drift"). What differs between them stands in _table.tpl. */}}
{{- define "trimtab.service" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $of := index (include "trimtab.table" $root | fromYaml) $name -}}
{{- $values := index $root.Values $name -}}
{{- $context := dict "root" $root "name" $name "of" $of "values" $values -}}
{{ include "trimtab.deployment" $context }}
---
{{ include "trimtab.clusterService" $context }}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{- include "trimtab.metadata" (list $root $name $name) | nindent 2 }}
automountServiceAccountToken: false
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{- include "trimtab.metadata" (list $root $name $name) | nindent 2 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "trimtab.selector" (list $root $name) | nindent 6 }}
{{- if include "trimtab.scaling" (list $root $name) }}
---
{{ include "trimtab.autoscaler" $context }}
{{- end }}
{{- end -}}

{{/* How a service is scaled: empty, "cpu" or "lag". (list $ name). */}}
{{- define "trimtab.scaling" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (index . 1) -}}
{{- if and (hasKey $values "autoscaling") $values.autoscaling.enabled -}}
{{- ternary "cpu" "lag" (eq (index . 1) "gateway") -}}
{{- end -}}
{{- end -}}

{{- define "trimtab.deployment" -}}
{{- $root := .root -}}
apiVersion: apps/v1
kind: Deployment
metadata: {{- include "trimtab.metadata" (list $root .name .name) | nindent 2 }}
spec:
  {{- if not (include "trimtab.scaling" (list $root .name)) }}
  replicas: {{ .values.replicas }}
  {{- end }}
  revisionHistoryLimit: 3
  strategy:
    {{- if eq $root.Values.state "sqlite" }}
    # A SQLite file belongs to one process.
    type: Recreate
    {{- else }}
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
    {{- end }}
  selector:
    matchLabels: {{- include "trimtab.selector" (list $root .name) | nindent 6 }}
  template:
    metadata:
      labels: {{- include "trimtab.podLabels" (list $root .name) | nindent 8 }}
      annotations:
        checksum/environment: {{ include "trimtab.environment" $root | sha256sum }}
        {{- if and (eq .name "retrain") (ne $root.Values.retrain.trainer "process") }}
        checksum/training-job: {{ include "trimtab.trainingJob" $root | sha256sum }}
        {{- end }}
        {{- with merge (dict) (.values.extra.annotations | default dict) $root.Values.pods.annotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "trimtab.pod" . | nindent 6 }}
{{- end -}}

{{- define "trimtab.pod" -}}
{{- $root := .root -}}
{{- $hasToken := and (eq .name "retrain") (ne $root.Values.retrain.trainer "process") -}}
serviceAccountName: {{ include "trimtab.host" (list $root .name) }}
automountServiceAccountToken: {{ $hasToken }}
enableServiceLinks: false
{{- include "trimtab.imagePullSecrets" $root }}
# Endpoints forget the pod, open calls end, then threads.
terminationGracePeriodSeconds: {{ add $root.Values.pods.preStopSeconds .values.drainSeconds .values.drainSeconds 10 }}
securityContext: {{- include "trimtab.podSecurity" (include "trimtab.uid" $root) | nindent 2 }}
{{- include "trimtab.placing" (list $root .values.extra .name) }}
{{- with include "trimtab.before" . | trim }}
initContainers: {{- . | nindent 2 }}
{{- end }}
containers:
  - name: {{ .name }}
    image: {{ include "trimtab.image" (list $root (include "trimtab.imageOf" .)) }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    command: {{ .values.extra.command | default (list "python" "-m" (printf "services.%s.main" .name)) | toJson }}
    envFrom:
      - configMapRef: {name: {{ include "trimtab.host" (list $root "environment") }}}
      {{- if and (eq .name "registry") $root.Values.storage.adapterSync.url $root.Values.storage.adapterSync.secret }}
      - secretRef: {name: {{ $root.Values.storage.adapterSync.secret }}}
      {{- end }}
    env: {{- include "trimtab.own" (list $root .name) | nindent 6 }}
    ports: {{- include "trimtab.ports" . | nindent 6 }}
    {{- include "trimtab.probes" . | nindent 4 }}
    lifecycle:
      preStop: {sleep: {seconds: {{ $root.Values.pods.preStopSeconds }}}}
    resources: {{- toYaml .values.resources | nindent 6 }}
    securityContext: {{- include "trimtab.containerSecurity" $root | nindent 6 }}
    volumeMounts: {{- include "trimtab.mounts" . | nindent 6 }}
volumes: {{- include "trimtab.volumes" . | nindent 2 }}
{{- end -}}

{{- define "trimtab.imageOf" -}}
{{- if and (eq .name "retrain") (eq .root.Values.retrain.trainer "process") }}train{{ else }}{{ .of.image }}{{ end -}}
{{- end -}}

{{/* Where pods may run: (list $ extra component). */}}
{{- define "trimtab.placing" -}}
{{- $root := index . 0 -}}
{{- $extra := index . 1 -}}
{{- $pods := $root.Values.pods -}}
{{- with $extra.nodeSelector | default $pods.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $extra.tolerations | default $pods.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $extra.affinity | default $pods.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pods.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
# Replicas on different nodes, where there are several.
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "trimtab.selector" (list $root (index . 2)) | nindent 8 }}
{{- end -}}

{{- define "trimtab.ports" -}}
- {name: {{ .of.api }}, containerPort: {{ .of.port }}}
{{- with .of.otlp }}
- {name: otlp, containerPort: {{ . }}}
{{- end }}
- {name: metrics, containerPort: {{ .of.metrics }}}
{{- end -}}

{{/* gRPC services say SERVING once they work, and NOT_SERVING while they drain. Under TLS the kubelet, which has no
certificate, can only see that the port is open; it is open for as long as they serve. */}}
{{- define "trimtab.probes" -}}
{{- $asked := dict "grpc" (dict "port" .of.port) -}}
{{- if eq .of.api "http" -}}
{{- $asked = dict "httpGet" (dict "path" "/healthz" "port" .of.api) -}}
{{- if and (eq .name "gateway") .root.Values.tls.enabled -}}
{{- $_ := set $asked.httpGet "scheme" "HTTPS" -}}
{{- end -}}
{{- else if .root.Values.tls.enabled -}}
{{- $asked = dict "tcpSocket" (dict "port" .of.api) -}}
{{- end -}}
startupProbe:
  {{- toYaml $asked | nindent 2 }}
  periodSeconds: 3
  timeoutSeconds: 3
  failureThreshold: 100
readinessProbe:
  {{- toYaml $asked | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 3
livenessProbe:
  {{- toYaml $asked | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{- define "trimtab.clusterService" -}}
apiVersion: v1
kind: Service
metadata: {{- include "trimtab.metadata" (list .root .name .name) | nindent 2 }}
spec:
  type: {{ .values.serviceType | default "ClusterIP" }}
  selector: {{- include "trimtab.selector" (list .root .name) | nindent 4 }}
  ports:
    {{- $grpc := ternary "https" "kubernetes.io/h2c" .root.Values.tls.enabled }}
    {{- $http := ternary "https" "http" (and .root.Values.tls.enabled (eq .name "gateway")) }}
    - {name: {{ .of.api }}, port: {{ .of.port }}, targetPort: {{ .of.api }}, appProtocol: {{ ternary $grpc $http (eq .of.api "grpc") }}}
    {{- with .of.otlp }}
    - {name: otlp, port: {{ . }}, targetPort: otlp, appProtocol: {{ $grpc }}}
    {{- end }}
    - {name: metrics, port: {{ .of.metrics }}, targetPort: metrics, appProtocol: http}
{{- end -}}

{{/* In a trial install Kafka and PostgreSQL start beside the services, which wait for them here instead of ending
and being started again. */}}
{{/* What has to be there first, and what stays beside the service. */}}
{{- define "trimtab.before" -}}
{{ include "trimtab.waiting" . }}
{{- if has "adapters" (.of.reads | default list) }}
{{ include "trimtab.mirror" .root }}
{{- end }}
{{- end -}}

{{- define "trimtab.waiting" -}}
{{- $root := .root -}}
{{- $trial := or $root.Values.kafka.trial.enabled (and (eq $root.Values.state "postgresql") $root.Values.postgresql.trial.enabled) -}}
{{- if and $trial .of.database -}}
- name: wait
  image: {{ include "trimtab.image" (list $root "light") }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  command: [python, -m, infra.deployment, wait]
  envFrom:
    - configMapRef: {name: {{ include "trimtab.host" (list $root "environment") }}}
  env: {{- include "trimtab.databaseEnv" (list $root .name) | nindent 4 }}
  resources: {{- toYaml $root.Values.pods.hookResources | nindent 4 }}
  securityContext: {{- include "trimtab.containerSecurity" $root | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
    {{- if eq $root.Values.state "sqlite" }}
    - {name: state, mountPath: /var/lib/trimtab/state}
    {{- end }}
{{- end -}}
{{- end -}}

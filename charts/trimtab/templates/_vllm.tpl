{{/* The engines. Each base model has replicas of its own; a replica has an address of its own, because the registry
asks every one of them what it serves. */}}
{{- define "trimtab.vllm.models" -}}
{{- $found := list (dict "id" "base" "name" .Values.models.base.name "folder" .Values.models.base.folder) -}}
{{- range $name, $folder := .Values.models.others -}}
{{- $found = append $found (dict "id" ($name | lower | replace "." "-" | replace "_" "-" | replace "/" "-" | replace ":" "-" | trunc 30 | trimSuffix "-") "name" $name "folder" $folder) -}}
{{- end -}}
{{- dict "models" $found | toJson -}}
{{- end -}}

{{- define "trimtab.vllm.host" -}}
{{ include "trimtab.fullname" (index . 0) }}-vllm-{{ index . 1 }}
{{- end -}}

{{/* What the services are told: external engines, a router, or each replica of the one base model. */}}
{{- define "trimtab.vllm.urls" -}}
{{- $root := . -}}
{{- $vllm := .Values.vllm -}}
{{- if not $vllm.enabled -}}
{{ join "," $vllm.urls }}
{{- else if $vllm.router -}}
{{ $vllm.router }}
{{- else -}}
{{- $host := include "trimtab.vllm.host" (list . "base") -}}
{{- $urls := list -}}
{{- range $number := until (int $vllm.replicas) -}}
{{- $urls = append $urls (printf "http://%s-%d.%s.%s.svc:8000" $host $number $host $root.Release.Namespace) -}}
{{- end -}}
{{ join "," $urls }}
{{- end -}}
{{- end -}}

{{/* A router picks the pod for chats, whose version the gateway has picked; all others ask the replicas. */}}
{{- define "trimtab.vllm.urlsOf" -}}
{{- $root := index . 0 -}}
{{- if and (eq (index . 1) "gateway") $root.Values.vllm.inferencePool.enabled -}}
{{ $root.Values.vllm.inferencePool.url }}
{{- else -}}
{{ include "trimtab.vllm.urls" $root }}
{{- end -}}
{{- end -}}

{{/* vLLM's command for one base model: (list $ model). As in the local stack, less what is for its CPU build. */}}
{{- define "trimtab.vllm.args" -}}
{{- $root := index . 0 -}}
{{- $model := index . 1 -}}
{{- $vllm := $root.Values.vllm -}}
- --model={{ include "trimtab.model" (list $root $model.folder) }}
- --served-model-name={{ $model.name }}
- --host=0.0.0.0
- --port=8000
- --dtype={{ $vllm.dtype }}
- --max-model-len={{ int $vllm.maxModelLen }}
- --enable-lora
- --max-lora-rank={{ int $vllm.maxLoraRank }}
- --max-loras={{ int $vllm.maxLoras }}
- --max-cpu-loras={{ int $vllm.maxCpuLoras }}
{{- if eq $vllm.device "cpu" }}
- --enforce-eager
- --block-size=32
- --distributed-executor-backend=uni
{{- else }}
- --tensor-parallel-size={{ int $vllm.gpus }}
- --gpu-memory-utilization={{ $vllm.gpuMemoryShare }}
{{- end }}
{{- range $vllm.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "trimtab.vllm.env" -}}
{{- $vllm := .Values.vllm -}}
- {name: VLLM_ALLOW_RUNTIME_LORA_UPDATING, value: "True"}
- {name: VLLM_PLUGINS, value: {{ ternary "lora_filesystem_resolver,trimtab_cpu_lora" "lora_filesystem_resolver" (eq $vllm.device "cpu") | quote }}}
- {name: VLLM_LORA_RESOLVER_CACHE_DIR, value: /adapters}
- {name: VLLM_NO_USAGE_STATS, value: "1"}
- {name: DO_NOT_TRACK, value: "1"}
- {name: HF_HUB_OFFLINE, value: "1"}
- {name: TOKENIZERS_PARALLELISM, value: "false"}
- {name: PYTHONUNBUFFERED, value: "1"}
# Its caches; the user has no entry in /etc/passwd.
- {name: HOME, value: /tmp}
- {name: USER, value: trimtab}
{{- if eq $vllm.device "cpu" }}
# Without a C++ compiler, what it would compile ends it at the first request for log-probabilities of a prompt.
- {name: TORCHDYNAMO_DISABLE, value: "1"}
- {name: VLLM_TARGET_DEVICE, value: cpu}
- {name: VLLM_ENABLE_V1_MULTIPROCESSING, value: "0"}
- {name: VLLM_CPU_OMP_THREADS_BIND, value: nobind}
- {name: VLLM_CPU_KVCACHE_SPACE, value: {{ $vllm.cpuCacheGb | quote }}}
- {name: OMP_NUM_THREADS, value: {{ .Values.settings.threads | quote }}}
{{- end }}
{{- range $name, $value := $vllm.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{- define "trimtab.vllm.set" -}}
{{- $root := index . 0 -}}
{{- $model := index . 1 -}}
{{- $vllm := $root.Values.vllm -}}
{{- $host := include "trimtab.vllm.host" (list $root $model.id) -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ $host }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "trimtab.labels" (list $root "vllm") | nindent 4 }}
    trimtab/base-model: {{ $model.id }}
spec:
  replicas: {{ int $vllm.replicas }}
  serviceName: {{ $host }}
  # Replicas do not depend on each other.
  podManagementPolicy: Parallel
  revisionHistoryLimit: 3
  selector:
    matchLabels: {{- include "trimtab.selector" (list $root "vllm") | nindent 6 }}
      trimtab/base-model: {{ $model.id }}
  template:
    metadata:
      labels: {{- include "trimtab.podLabels" (list $root "vllm") | nindent 8 }}
        trimtab/base-model: {{ $model.id }}
      {{- with merge (dict) ($vllm.extra.annotations | default dict) $root.Values.pods.annotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec: {{- include "trimtab.vllm.pod" . | nindent 6 }}
{{- end -}}

{{- define "trimtab.vllm.pod" -}}
{{- $root := index . 0 -}}
{{- $vllm := $root.Values.vllm -}}
serviceAccountName: {{ include "trimtab.host" (list $root "vllm") }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- include "trimtab.imagePullSecrets" $root }}
# Open streams end first.
terminationGracePeriodSeconds: {{ add $root.Values.pods.preStopSeconds $vllm.drainSeconds }}
securityContext: {{- include "trimtab.podSecurity" (include "trimtab.uid" $root) | nindent 2 }}
{{- include "trimtab.placing" (list $root $vllm.extra "vllm") }}
{{- with include "trimtab.mirror" $root }}
initContainers: {{- . | nindent 2 }}
{{- end }}
containers:
  - name: vllm
    image: {{ $vllm.image }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    command: {{ $vllm.extra.command | default (list "python3" "-m" "vllm.entrypoints.openai.api_server") | toJson }}
    args: {{- include "trimtab.vllm.args" . | nindent 6 }}
    env: {{- include "trimtab.vllm.env" $root | nindent 6 }}
    ports:
      - {name: http, containerPort: 8000}
    # Loading weights takes minutes.
    startupProbe:
      httpGet: {path: /health, port: http}
      periodSeconds: 5
      timeoutSeconds: 5
      failureThreshold: {{ div $vllm.startSeconds 5 }}
    readinessProbe:
      httpGet: {path: /health, port: http}
      periodSeconds: 5
      timeoutSeconds: 5
    livenessProbe:
      httpGet: {path: /health, port: http}
      periodSeconds: 15
      timeoutSeconds: 10
      failureThreshold: 8
    lifecycle:
      preStop: {sleep: {seconds: {{ $root.Values.pods.preStopSeconds }}}}
    resources: {{- include "trimtab.vllm.resources" $root | nindent 6 }}
    securityContext: {{- include "trimtab.containerSecurity" $root | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      - {name: shm, mountPath: /dev/shm}
      - {name: models, mountPath: {{ $root.Values.models.path }}, readOnly: true}
      - {name: adapters, mountPath: /adapters, readOnly: true}
      {{- with concat $root.Values.pods.volumeMounts ($vllm.extra.volumeMounts | default list) }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - {name: tmp, emptyDir: {}}
  - {name: shm, emptyDir: {medium: Memory, sizeLimit: {{ $vllm.sharedMemory }}}}
  - name: models
    {{- include "trimtab.volumeSource" $root.Values.models.volume | nindent 4 }}
  - name: adapters
    {{- include "trimtab.storage" (list $root "adapters") | nindent 4 }}
  {{- with concat $root.Values.pods.volumes ($vllm.extra.volumes | default list) }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* GPUs are always a limit; whoever names resources of their own need not repeat them. */}}
{{- define "trimtab.vllm.resources" -}}
{{- $found := deepCopy .Values.vllm.resources -}}
{{- if eq .Values.vllm.device "gpu" -}}
{{- $limits := $found.limits | default dict -}}
{{- $_ := set $limits .Values.vllm.gpuResource (int .Values.vllm.gpus) -}}
{{- $_ := set $found "limits" $limits -}}
{{- end -}}
{{ toYaml $found }}
{{- end -}}

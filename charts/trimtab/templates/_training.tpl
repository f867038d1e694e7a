{{/* The manifest of a training, of which retrain fills in the name, its own labels and the arguments
`--job <folder>/job.json`. The run's folder travels by the volume `training`, mounted at the same path in both. */}}
{{- define "trimtab.trainingJob" -}}
{{- if eq .Values.retrain.trainer "trainjob" -}}
{{ include "trimtab.trainJob" . }}
{{- else -}}
{{ include "trimtab.batchJob" . }}
{{- end -}}
{{- end -}}

{{- define "trimtab.training.metadata" -}}
metadata:
  namespace: {{ .Release.Namespace }}
  labels: {{- include "trimtab.labels" (list . "training") | nindent 4 }}
    {{- with .Values.training.queue }}
    kueue.x-k8s.io/queue-name: {{ . }}
    {{- end }}
{{- end -}}

{{- define "trimtab.batchJob" -}}
{{- $training := .Values.training -}}
apiVersion: batch/v1
kind: Job
{{ include "trimtab.training.metadata" . }}
spec:
  completionMode: Indexed
  completions: {{ int $training.nodes }}
  parallelism: {{ int $training.nodes }}
  # A training resumes from its last checkpoint.
  backoffLimit: {{ int $training.retries }}
  activeDeadlineSeconds: {{ int $training.maxSeconds }}
  ttlSecondsAfterFinished: {{ int $training.keepSeconds }}
  {{- if $training.queue }}
  # The queue starts it.
  suspend: true
  {{- end }}
  template:
    metadata:
      labels: {{- include "trimtab.podLabels" (list . "training") | nindent 8 }}
      {{- with merge (dict) ($training.extra.annotations | default dict) .Values.pods.annotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      # Pods of one Job find each other as <job>-<index>.<subdomain>.
      subdomain: {{ include "trimtab.host" (list . "training") }}
      restartPolicy: Never
      serviceAccountName: {{ include "trimtab.host" (list . "training") }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- include "trimtab.imagePullSecrets" . | nindent 6 }}
      securityContext: {{- include "trimtab.podSecurity" (include "trimtab.uid" .) | nindent 8 }}
      {{- include "trimtab.training.placing" . | nindent 6 }}
      containers:
        - name: trainer
          image: {{ include "trimtab.image" (list . "train") }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          command: {{ include "trimtab.training.command" . }}
          env: {{- include "trimtab.training.env" . | nindent 12 }}
          resources: {{- include "trimtab.training.resources" . | nindent 12 }}
          securityContext: {{- include "trimtab.containerSecurity" . | nindent 12 }}
          volumeMounts: {{- include "trimtab.training.mounts" . | nindent 12 }}
      volumes: {{- include "trimtab.training.volumes" . | nindent 8 }}
{{- end -}}

{{/* Kubeflow's trainer starts torchrun by itself, from the runtime that it is told. */}}
{{- define "trimtab.trainJob" -}}
{{- $training := .Values.training -}}
apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainJob
{{ include "trimtab.training.metadata" . }}
spec:
  {{- if $training.queue }}
  suspend: true
  {{- end }}
  runtimeRef:
    apiGroup: trainer.kubeflow.org
    kind: ClusterTrainingRuntime
    name: {{ $training.runtime }}
  trainer:
    image: {{ include "trimtab.image" (list . "train") }}
    command: [torchrun, -m, services.retrain.train]
    numNodes: {{ int $training.nodes }}
    numProcPerNode: {{ max 1 (int $training.gpus) }}
    env: {{- include "trimtab.training.env" . | nindent 6 }}
    resourcesPerNode: {{- include "trimtab.training.resources" . | nindent 6 }}
  podSpecOverrides:
    - targetJobs: [{name: node}]
      serviceAccountName: {{ include "trimtab.host" (list . "training") }}
      {{- with $training.extra.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $training.extra.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      volumes: {{- include "trimtab.training.volumes" . | nindent 8 }}
      containers:
        - name: node
          volumeMounts: {{- include "trimtab.training.mounts" . | nindent 12 }}
{{- end -}}

{{/* One process is plain Python; several, on one node or more, are torchrun's. */}}
{{- define "trimtab.training.command" -}}
{{- $nodes := int .Values.training.nodes -}}
{{- $gpus := max 1 (int .Values.training.gpus) -}}
{{- $whole := list "python" "-m" "services.retrain.train" -}}
{{- if or (gt $nodes 1) (gt $gpus 1) -}}
{{- $address := printf "--master-addr=$(JOB_NAME)-0.%s" (include "trimtab.host" (list . "training")) -}}
{{- $whole = list "python" "-m" "torch.distributed.run" (printf "--nnodes=%d" $nodes) (printf "--nproc-per-node=%d" $gpus) "--node-rank=$(JOB_COMPLETION_INDEX)" $address "--master-port=29500" "-m" "services.retrain.train" -}}
{{- end -}}
{{ .Values.training.extra.command | default $whole | toJson }}
{{- end -}}

{{- define "trimtab.training.env" -}}
{{- if eq .Values.retrain.trainer "job" -}}
- name: JOB_NAME
  valueFrom: {fieldRef: {fieldPath: "metadata.labels['batch.kubernetes.io/job-name']"}}
{{ end -}}
- {name: TRIMTAB_DATA, value: /var/lib/trimtab}
- {name: TRIMTAB_BASE_MODEL, value: {{ include "trimtab.model" (list . .Values.models.base.folder) | quote }}}
- {name: HF_HUB_OFFLINE, value: "1"}
- {name: TOKENIZERS_PARALLELISM, value: "false"}
- {name: PYTHONUNBUFFERED, value: "1"}
- {name: PYTHONDONTWRITEBYTECODE, value: "1"}
- {name: HOME, value: /tmp}
# torch asks for the user's name, and the user has no entry in /etc/passwd.
- {name: USER, value: trimtab}
- {name: OMP_NUM_THREADS, value: {{ .Values.training.threads | quote }}}
{{- range $name, $value := .Values.training.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{- define "trimtab.training.resources" -}}
{{- $found := deepCopy .Values.training.resources -}}
{{- if .Values.training.gpus -}}
{{- $limits := $found.limits | default dict -}}
{{- $_ := set $limits .Values.vllm.gpuResource (int .Values.training.gpus) -}}
{{- $_ := set $found "limits" $limits -}}
{{- end -}}
{{ toYaml $found }}
{{- end -}}

{{- define "trimtab.training.placing" -}}
{{- with .Values.training.extra.nodeSelector | default .Values.pods.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.training.extra.tolerations | default .Values.pods.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.training.extra.affinity | default .Values.pods.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "trimtab.training.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: shm, mountPath: /dev/shm}
- {name: training, mountPath: {{ (include "trimtab.paths" . | fromYaml).training }}}
- {name: models, mountPath: {{ .Values.models.path }}, readOnly: true}
{{- with concat .Values.pods.volumeMounts (.Values.training.extra.volumeMounts | default list) }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "trimtab.training.volumes" -}}
- {name: tmp, emptyDir: {}}
- {name: shm, emptyDir: {medium: Memory, sizeLimit: {{ .Values.training.sharedMemory }}}}
- name: training
  {{- include "trimtab.storage" (list . "training") | nindent 2 }}
- name: models
  {{- include "trimtab.volumeSource" .Values.models.volume | nindent 2 }}
{{- with concat .Values.pods.volumes (.Values.training.extra.volumes | default list) }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The processes of one training talk to each other over any port; nobody else does. */}}
{{- define "trimtab.training.admits" -}}
- from:
    - podSelector:
        matchLabels: {{- include "trimtab.selector" (list . "training") | nindent 10 }}
{{- end -}}

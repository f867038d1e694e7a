{{/* What the schema cannot say: each refusal says what to set. */}}
{{- define "trimtab.validate" -}}
{{- $problems := list -}}
{{- range list "trimtab.validate.parts" "trimtab.validate.secrets" "trimtab.validate.replicas" "trimtab.validate.vllm" "trimtab.validate.training" "trimtab.validate.storage" -}}
{{- range regexSplit "\n" (include . $ | trim) -1 -}}
{{- with trim . }}{{ $problems = append $problems . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- with $problems }}
{{- fail (printf "\n  - %s\n" (join "\n  - " .)) }}
{{- end }}
{{- end -}}

{{- define "trimtab.validate.parts" -}}
{{- if and (not .Values.kafka.trial.enabled) (not .Values.kafka.bootstrapServers) }}
There is no Kafka: set kafka.bootstrapServers to its address, such as kafka.example.com:9092, or kafka.trial.enabled=true for one small broker.
{{- end }}
{{- if and (not .Values.mlflow.trial.enabled) (not .Values.mlflow.url) }}
There is no MLflow: set mlflow.url to its address, such as http://mlflow.example.com:5000, or mlflow.trial.enabled=true for a small one.
{{- end }}
{{- if eq .Values.state "postgresql" }}
{{- if and (not .Values.postgresql.trial.enabled) (not .Values.postgresql.host) }}
There is no PostgreSQL: set postgresql.host to its address, or postgresql.trial.enabled=true for a small one.
{{- end }}
{{- if and (not .Values.postgresql.trial.enabled) .Values.postgresql.host (not .Values.postgresql.existingSecret) }}
There is no password for PostgreSQL: set postgresql.existingSecret to a Secret that holds it under "{{ .Values.postgresql.passwordKey }}".
{{- end }}
{{- end }}
{{- if and .Values.kafka.trial.enabled (gt (int .Values.kafka.replication) 1) }}
The trial broker is one: kafka.replication={{ .Values.kafka.replication }} needs as many brokers; set it to 1, or use your own Kafka.
{{- end }}
{{- end -}}

{{- define "trimtab.validate.secrets" -}}
{{- if and (not .Values.secrets.existingSecret) (not .Values.secrets.generate) }}
There are no secrets: set secrets.existingSecret to a Secret with the keys gateway-keys, link-secret and internal-token (README.md says how to make it), or secrets.generate=true for a trial.
{{- end }}
{{- end -}}

{{- define "trimtab.validate.replicas" -}}
{{- if eq .Values.state "sqlite" }}
{{- range $name, $of := include "trimtab.table" . | fromYaml }}
{{- if $of.database }}
{{- $values := index $.Values $name }}
{{- if gt (int $values.replicas) 1 }}
{{ $name }}.replicas={{ $values.replicas }} needs state=postgresql: a SQLite file belongs to one process.
{{- else if include "trimtab.scaling" (list $ $name) }}
{{ $name }}.autoscaling.enabled=true needs state=postgresql: a SQLite file belongs to one process.
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $of := include "trimtab.table" . | fromYaml }}
{{- $values := index $.Values $name }}
{{- if include "trimtab.scaling" (list $ $name) }}
{{- if gt (int $values.autoscaling.min) (int $values.autoscaling.max) }}
{{ $name }}.autoscaling.min={{ $values.autoscaling.min }} is more than max={{ $values.autoscaling.max }}.
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "trimtab.validate.vllm" -}}
{{- $vllm := .Values.vllm }}
{{- if and (not $vllm.enabled) (not $vllm.urls) }}
Nothing answers chats: set vllm.enabled=true, or vllm.urls to the addresses of your engines.
{{- end }}
{{- if and $vllm.enabled $vllm.urls }}
vllm.urls names engines elsewhere, and vllm.enabled=true starts some here: choose one.
{{- end }}
{{- if lt (int $vllm.maxLoras) 3 }}
vllm.maxLoras={{ $vllm.maxLoras }} is too few: champion, canary and the version that replaces one of them are three adapters at once.
{{- end }}
{{- if lt (int $vllm.maxCpuLoras) (int $vllm.maxLoras) }}
vllm.maxCpuLoras={{ $vllm.maxCpuLoras }} must be at least vllm.maxLoras={{ $vllm.maxLoras }}.
{{- end }}
{{- if and $vllm.enabled .Values.models.others (not $vllm.router) }}
models.others names further base models, and an engine serves one: set vllm.router to an address that sends each request to the engine of its "model".
{{- end }}
{{- if and $vllm.inferencePool.enabled (not $vllm.enabled) }}
vllm.inferencePool.enabled=true needs vllm.enabled=true: the pool is made of its pods.
{{- end }}
{{- if $vllm.inferencePool.enabled }}
{{- if not $vllm.inferencePool.url }}
vllm.inferencePool.enabled=true needs vllm.inferencePool.url: where the router answers chats.
{{- end }}
{{- if not $vllm.inferencePool.picker.name }}
vllm.inferencePool.enabled=true needs vllm.inferencePool.picker.name: the Service of its endpoint picker.
{{- end }}
{{- end }}
{{- if and (eq $vllm.device "gpu") (lt (int $vllm.gpus) 1) }}
vllm.gpus={{ $vllm.gpus }} is none: set it to 1 or more, or vllm.device=cpu.
{{- end }}
{{- if not (include "trimtab.volumeSource" .Values.models.volume) }}
There are no models: set models.volume to a volume that holds the weights, such as {"persistentVolumeClaim": {"claimName": "models"}}.
{{- end }}
{{- end -}}

{{- define "trimtab.validate.training" -}}
{{- $training := .Values.training }}
{{- if and (eq .Values.retrain.trainer "process") $training.queue }}
training.queue={{ $training.queue }} needs retrain.trainer=job or trainjob: a process is not queued.
{{- end }}
{{- if and (eq .Values.retrain.trainer "process") (gt (int $training.nodes) 1) }}
training.nodes={{ $training.nodes }} needs retrain.trainer=job or trainjob: a process runs on one node.
{{- end }}
{{- end -}}

{{/* Values of several files are merged, so a volume of one and a volume of the other are both there. */}}
{{- define "trimtab.validate.volume" -}}
{{- $kinds := include "trimtab.volumeSource" (index . 1) | fromYaml }}
{{- if gt (len $kinds) 1 }}
{{ index . 0 }} is of several kinds ({{ keys $kinds | sortAlpha | join ", " }}): set those that you do not want to null.
{{- end }}
{{- end -}}

{{- define "trimtab.validate.storage" -}}
{{ include "trimtab.validate.volume" (list "models.volume" .Values.models.volume) }}
{{- range list "kafka" "postgresql" "mlflow" }}
{{ include "trimtab.validate.volume" (list (printf "%s.trial.volume" .) (index $.Values .).trial.volume) }}
{{- end }}
{{- range $name, $one := .Values.storage }}
{{- if kindIs "map" $one }}
{{ include "trimtab.validate.volume" (list (printf "storage.%s.volume" $name) $one.volume) }}
{{- if and $one.existingClaim (include "trimtab.volumeSource" $one.volume) }}
storage.{{ $name }} has both existingClaim and volume: choose one.
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

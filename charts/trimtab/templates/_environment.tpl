{{/* What every service is told: the fields of shared.configuration.settings.CommonSettings, and that nothing
telephones home. */}}
{{- define "trimtab.environment" -}}
{{- $root := . -}}
{{- $values := .Values -}}
TRIMTAB_HOST: "0.0.0.0"
TRIMTAB_DATA: /var/lib/trimtab
TRIMTAB_KAFKA: {{ include "trimtab.kafka" . | quote }}
TRIMTAB_KAFKA_PARTITIONS: {{ $values.kafka.partitions | quote }}
TRIMTAB_MLFLOW_URL: {{ include "trimtab.mlflow" . | quote }}
TRIMTAB_BASE_MODEL: {{ include "trimtab.model" (list . $values.models.base.folder) | quote }}
TRIMTAB_BASE_MODEL_NAME: {{ $values.models.base.name | quote }}
TRIMTAB_BASE_MODELS: {{ include "trimtab.bases" . | quote }}
TRIMTAB_ENCODER: {{ include "trimtab.model" (list . $values.models.encoder) | quote }}
TRIMTAB_ADAPTER_DIR: /adapters
TRIMTAB_RETENTION: {{ $values.settings.retention | toJson | quote }}
TRIMTAB_SEEN_DAYS: {{ $values.settings.seenDays | quote }}
TRIMTAB_TOPIC_DAYS: {{ $values.settings.topicDays | quote }}
TRIMTAB_OTLP_ENDPOINT: {{ $values.settings.otlpEndpoint | quote }}
TRIMTAB_REQUIRE_KEYS: {{ $values.settings.requireKeys | quote }}
TRIMTAB_LOG_LEVEL: {{ $values.settings.logLevel | quote }}
{{- if $values.settings.redaction }}
TRIMTAB_REDACTION: /etc/trimtab/redaction/redaction.toml
{{- end }}
{{- if $values.tls.enabled }}
TRIMTAB_TLS_CERT: /etc/trimtab/tls/tls.crt
TRIMTAB_TLS_KEY: /etc/trimtab/tls/tls.key
TRIMTAB_TLS_CA: /etc/trimtab/tls/ca.crt
TRIMTAB_TLS_CLIENT_CA: /etc/trimtab/tls/ca.crt
{{- end }}
{{ include "trimtab.addresses" . }}
HF_HUB_OFFLINE: "1"
TOKENIZERS_PARALLELISM: "false"
DO_NOT_TRACK: "1"
VLLM_NO_USAGE_STATS: "1"
MLFLOW_DISABLE_TELEMETRY: "true"
PYTHONUNBUFFERED: "1"
# The root file system is read-only.
PYTHONDONTWRITEBYTECODE: "1"
HOME: /tmp
{{- range $name, $value := $values.settings.env }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* Where each service answers: ADDRESS for gRPC, URL for HTTP. Only the gateway's HTTP server can speak TLS. */}}
{{- define "trimtab.addresses" -}}
{{- $root := . -}}
{{- range $name, $of := include "trimtab.table" . | fromYaml }}
{{- if eq $of.api "grpc" }}
TRIMTAB_{{ $name | upper }}_ADDRESS: {{ printf "%s:%v" (include "trimtab.host" (list $root $name)) $of.port | quote }}
{{- else }}
{{- $scheme := and (eq $name "gateway") $root.Values.tls.enabled | ternary "https" "http" }}
TRIMTAB_{{ $name | upper }}_URL: {{ printf "%s://%s:%v" $scheme (include "trimtab.host" (list $root $name)) $of.port | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What one service is told besides, as a container's `env`: (list $ name). */}}
{{- define "trimtab.own" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $of := index (include "trimtab.table" $root | fromYaml) $name -}}
{{- $values := index $root.Values $name -}}
{{- $key := printf "TRIMTAB_%s" ($name | upper) -}}
- {name: {{ $key }}_PORT, value: {{ $of.port | quote }}}
- {name: {{ $key }}_METRICS_PORT, value: {{ $of.metrics | quote }}}
- {name: {{ $key }}_DRAIN_S, value: {{ $values.drainSeconds | quote }}}
{{- if $of.database }}
{{ include "trimtab.databaseEnv" (list $root $name) }}
{{- end }}
{{- if $of.asksVllm }}
- {name: TRIMTAB_VLLM_URLS, value: {{ include "trimtab.vllm.urlsOf" (list $root $name) | quote }}}
{{- end }}
{{- include "trimtab.ofService" (list $root $name) }}
{{- include "trimtab.secretEnv" (list $root "TRIMTAB_INTERNAL_TOKEN" "internal-token" (not $root.Values.settings.requireKeys)) }}
{{- include "trimtab.secretEnv" (list $root "TRIMTAB_REDACTION_KEY" "redaction-key" true) }}
- {name: OMP_NUM_THREADS, value: {{ $root.Values.settings.threads | quote }}}
{{- range $variable, $value := $values.env }}
- {name: {{ $variable }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{/* What only one of them reads. */}}
{{- define "trimtab.ofService" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- if eq $name "gateway" }}
- {name: TRIMTAB_GATEWAY_OTLP_PORT, value: "4317"}
{{- include "trimtab.secretEnv" (list $root "TRIMTAB_GATEWAY_KEYS" "gateway-keys" true) }}
{{- include "trimtab.secretEnv" (list $root "TRIMTAB_GATEWAY_LINK_SECRET" "link-secret" (eq $root.Values.state "sqlite")) }}
{{- else if eq $name "interaction" }}
- {name: TRIMTAB_INTERACTION_ARCHIVE_URL, value: {{ $root.Values.interaction.archiveUrl | quote }}}
{{- else if eq $name "feedback" }}
- {name: TRIMTAB_FEEDBACK_OFFENCE, value: {{ include "trimtab.model" (list $root $root.Values.models.offence) | quote }}}
{{- else if eq $name "registry" }}
- {name: TRIMTAB_REGISTRY_TENANT, value: {{ $root.Values.settings.tenant | quote }}}
- {name: TRIMTAB_REGISTRY_MAX_LORA_RANK, value: {{ $root.Values.vllm.maxLoraRank | quote }}}
{{- if $root.Values.storage.adapterSync.url }}
{{ include "trimtab.syncEnv" $root }}
{{- end }}
{{- else if eq $name "dashboard" }}
- {name: TRIMTAB_DASHBOARD_TENANT, value: {{ $root.Values.settings.tenant | quote }}}
- {name: TRIMTAB_DASHBOARD_NODE_MODULES, value: /opt/trimtab/node_modules}
{{- else if eq $name "retrain" }}
- {name: TRIMTAB_RETRAIN_TENANT, value: {{ $root.Values.settings.tenant | quote }}}
- {name: TRIMTAB_RETRAIN_TORCH_THREADS, value: {{ $root.Values.settings.threads | quote }}}
- {name: TRIMTAB_RETRAIN_TRAINER, value: {{ $root.Values.retrain.trainer | quote }}}
{{- if ne $root.Values.retrain.trainer "process" }}
- {name: TRIMTAB_RETRAIN_JOB_TEMPLATE, value: /etc/trimtab/training/job.yaml}
- {name: TRIMTAB_RETRAIN_JOB_OWNER, value: {{ include "trimtab.host" (list $root "training-job") }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* (list $ name): the database of a service, and the keyring that all of them share. */}}
{{- define "trimtab.databaseEnv" -}}
{{- $root := index . 0 -}}
- {name: TRIMTAB_{{ index . 1 | upper }}_DATABASE_URL, value: {{ include "trimtab.databaseUrl" . | quote }}}
{{ include "trimtab.keyringEnv" $root }}
{{- end -}}

{{- define "trimtab.keyringEnv" -}}
- {name: TRIMTAB_KEYRING_URL, value: {{ include "trimtab.databaseUrl" (list . "keyring") | quote }}}
{{- if eq .Values.state "postgresql" }}
- {name: PGSSLMODE, value: {{ ternary "disable" .Values.postgresql.sslMode .Values.postgresql.trial.enabled | quote }}}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "trimtab.postgresql.secret" . }}
      key: {{ ternary "password" .Values.postgresql.passwordKey .Values.postgresql.trial.enabled }}
{{- end }}
{{- end -}}

{{/* (list $ VARIABLE key optional): a variable from the Secret. */}}
{{- define "trimtab.secretEnv" }}
- name: {{ index . 1 }}
  valueFrom:
    secretKeyRef:
      name: {{ include "trimtab.secret" (index . 0) }}
      key: {{ index . 2 }}
      optional: {{ index . 3 }}
{{- end -}}

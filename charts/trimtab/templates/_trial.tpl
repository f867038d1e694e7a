{{/* Small stand-ins for a trial install: one pod each, nothing replicated. (dict "root" $ "name" "kafka" "port" 9092
"image" ... "script" ... "uid" ... "data" path "env" list "mounts" list "volumes" list) */}}
{{- define "trimtab.trial" -}}
{{- $root := .root -}}
{{- $trial := (index $root.Values .name).trial -}}
apiVersion: apps/v1
kind: StatefulSet
metadata: {{- include "trimtab.metadata" (list $root .name .name) | nindent 2 }}
spec:
  replicas: 1
  serviceName: {{ include "trimtab.host" (list $root .name) }}
  selector:
    matchLabels: {{- include "trimtab.selector" (list $root .name) | nindent 6 }}
  template:
    metadata:
      labels: {{- include "trimtab.podLabels" (list $root .name) | nindent 8 }}
      annotations:
        checksum/script: {{ .script | sha256sum }}
    spec:
      serviceAccountName: {{ include "trimtab.host" (list $root "trial") }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- include "trimtab.imagePullSecrets" $root | nindent 6 }}
      terminationGracePeriodSeconds: 60
      securityContext: {{- include "trimtab.podSecurity" (toString .uid) | nindent 8 }}
      {{- include "trimtab.placing" (list $root $trial.extra .name) | nindent 6 }}
      containers:
        - name: {{ .name }}
          image: {{ .image }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: [sh, -c, {{ .script | quote }}]
          {{- with .env }}
          env: {{- toYaml . | nindent 12 }}
          {{- end }}
          ports:
            - {name: main, containerPort: {{ .port }}}
          startupProbe:
            tcpSocket: {port: main}
            periodSeconds: 3
            failureThreshold: 100
          readinessProbe:
            tcpSocket: {port: main}
            periodSeconds: 5
          resources: {{- toYaml $trial.resources | nindent 12 }}
          securityContext: {{- include "trimtab.containerSecurity" $root | nindent 12 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            - {name: data, mountPath: {{ .data }}}
            {{- with concat (.mounts | default list) $root.Values.pods.volumeMounts ($trial.extra.volumeMounts | default list) }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - {name: tmp, emptyDir: {}}
        {{- with include "trimtab.volumeSource" $trial.volume }}
        - name: data
          {{- . | nindent 10 }}
        {{- end }}
        {{- with concat (.volumes | default list) $root.Values.pods.volumes ($trial.extra.volumes | default list) }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  {{- if not (include "trimtab.volumeSource" $trial.volume) }}
  volumeClaimTemplates:
    - metadata:
        name: data
        labels: {{- include "trimtab.selector" (list $root .name) | nindent 10 }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with $root.Values.storage.className }}
        storageClassName: {{ . }}
        {{- end }}
        resources: {requests: {storage: {{ $trial.size }}}}
  {{- end }}
---
apiVersion: v1
kind: Service
metadata: {{- include "trimtab.metadata" (list $root .name .name) | nindent 2 }}
spec:
  selector: {{- include "trimtab.selector" (list $root .name) | nindent 4 }}
  ports:
    - {name: main, port: {{ .port }}, targetPort: main}
{{- end -}}

{{/* One node in KRaft mode, as in the local stack. The first start formats the folder. */}}
{{- define "trimtab.trial.kafka.script" -}}
set -eu
cat > /tmp/server.properties <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:9093
listeners=PLAINTEXT://0.0.0.0:9092,CONTROLLER://127.0.0.1:9093
advertised.listeners=PLAINTEXT://{{ include "trimtab.kafka" . }}
controller.listener.names=CONTROLLER
log.dirs=/data/log
num.partitions={{ .Values.kafka.partitions }}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
log.retention.hours=-1
PROPERTIES
options="-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
if [ ! -s /data/log/meta.properties ]; then
  id=$(java -cp "{{ .Values.kafka.trial.libs }}/*" kafka.tools.StorageTool random-uuid | tail -n 1)
  java $options -cp "{{ .Values.kafka.trial.libs }}/*" kafka.tools.StorageTool format --standalone \
    --ignore-formatted -t "$id" -c /tmp/server.properties
fi
exec java -Xmx{{ .Values.kafka.trial.heapMb }}m $options -cp "{{ .Values.kafka.trial.libs }}/*" kafka.Kafka /tmp/server.properties
{{- end -}}

{{/* The first start makes the cluster, the later ones only the databases that are missing. */}}
{{- define "trimtab.trial.postgresql.script" -}}
set -eu
export PATH="$PATH:$(echo /usr/lib/postgresql/*/bin | tr ' ' ':')" PGDATA=/data/trimtab
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  printf %s "$PASSWORD" > /tmp/password
  initdb -U {{ .Values.postgresql.user }} -A scram-sha-256 --pwfile=/tmp/password -E UTF8 --locale=C.UTF-8
  rm /tmp/password
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
fi
for name in keyring{{ range $name, $of := include "trimtab.table" . | fromYaml }}{{ if $of.database }} {{ $name }}{{ end }}{{ end }}; do
  echo "CREATE DATABASE \"{{ .Values.postgresql.prefix }}$name\"" | postgres --single -D "$PGDATA" postgres > /dev/null 2>&1
done
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp -c max_connections=300
{{- end -}}

{{- define "trimtab.trial.mlflow.script" -}}
exec python -m mlflow server --backend-store-uri sqlite:////var/lib/mlflow/mlflow.db \
  --artifacts-destination /var/lib/mlflow/artifacts --host 0.0.0.0 --port 5000 --workers 1 \
  --allowed-hosts '{{ include "trimtab.host" (list . "mlflow") }}:5000,localhost:*,127.0.0.1:*'
{{- end -}}

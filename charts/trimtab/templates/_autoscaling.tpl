{{/* The gateway follows its processors; the others follow what waits for them on Kafka. */}}
{{- define "trimtab.autoscaler" -}}
{{- if eq (include "trimtab.scaling" (list .root .name)) "cpu" -}}
{{ include "trimtab.horizontal" . }}
{{- else -}}
{{ include "trimtab.scaledObject" . }}
{{- end -}}
{{- end -}}

{{- define "trimtab.horizontal" -}}
{{- $scaling := .values.autoscaling -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{- include "trimtab.metadata" (list .root .name .name) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "trimtab.host" (list .root .name) }}
  minReplicas: {{ $scaling.min }}
  maxReplicas: {{ $scaling.max }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ $scaling.cpuPercent }}}
  behavior:
    # Streams are long: a pod that leaves takes a while to drain.
    scaleDown: {stabilizationWindowSeconds: 300}
{{- end -}}

{{- define "trimtab.scaledObject" -}}
{{- $scaling := .values.autoscaling -}}
{{- $root := .root -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {{- include "trimtab.metadata" (list $root .name .name) | nindent 2 }}
spec:
  scaleTargetRef:
    name: {{ include "trimtab.host" (list $root .name) }}
  minReplicaCount: {{ $scaling.min }}
  # A partition has one reader: more replicas than partitions would be idle.
  maxReplicaCount: {{ min $scaling.max $root.Values.kafka.partitions }}
  cooldownPeriod: 300
  triggers:
    {{- range $group, $topics := .of.groups }}
    {{- range $topics }}
    - type: kafka
      metadata:
        bootstrapServers: {{ include "trimtab.kafka" $root | quote }}
        consumerGroup: {{ $group | quote }}
        topic: {{ . | quote }}
        lagThreshold: {{ $scaling.lag | quote }}
        offsetResetPolicy: earliest
        # Positions are committed for this only; what a new group has not read yet is lag.
        scaleToZeroOnInvalidOffset: "false"
    {{- end }}
    {{- end }}
{{- end -}}

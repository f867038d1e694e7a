{{/* A rule that lets pods of the same release in: (list $ ports components). */}}
{{- define "trimtab.admits" -}}
{{- $root := index . 0 -}}
- ports:
    {{- range index . 1 }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  from:
    - podSelector:
        matchLabels:
          app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
          app.kubernetes.io/instance: {{ $root.Release.Name }}
        matchExpressions:
          - {key: app.kubernetes.io/component, operator: In, values: {{ index . 2 | toJson }}}
{{- end -}}

{{/* A rule that lets in whom the values name: (list ports peers). No peers: everybody. */}}
{{- define "trimtab.admitsPeers" -}}
- ports:
    {{- range index . 0 }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with index . 1 }}
  from: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "trimtab.networkPolicy" -}}
{{- $root := .root -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{- include "trimtab.metadata" (list $root .name .name) | nindent 2 }}
spec:
  podSelector:
    matchLabels: {{- include "trimtab.selector" (list $root .name) | nindent 6 }}
  policyTypes: [Ingress]
  ingress: {{- .rules | nindent 4 }}
{{- end -}}

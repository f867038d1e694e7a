{{/* Work before an installation or an upgrade: (dict "root" $ "name" "topics" "weight" "1" "env" "..."). In a trial
install Kafka and PostgreSQL are not there before it, so the first time the services do this themselves, as they can
at every start. The variables stand in the Job because hooks run before anything else is made. */}}
{{- define "trimtab.hook" -}}
{{- $root := .root -}}
apiVersion: batch/v1
kind: Job
metadata: {{- include "trimtab.metadata" (list $root .name .name) | nindent 2 }}
  annotations:
    helm.sh/hook: {{ .when }}
    helm.sh/hook-weight: {{ .weight | quote }}
    # A failed one stays, so that its log can be read.
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  backoffLimit: {{ int $root.Values.hooks.retries }}
  activeDeadlineSeconds: 600
  template:
    metadata:
      labels: {{- include "trimtab.podLabels" (list $root .name) | nindent 8 }}
      {{- with $root.Values.pods.annotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      restartPolicy: Never
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- include "trimtab.imagePullSecrets" $root | nindent 6 }}
      securityContext: {{- include "trimtab.podSecurity" (include "trimtab.uid" $root) | nindent 8 }}
      {{- with $root.Values.pods.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.pods.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .name }}
          image: {{ include "trimtab.image" (list $root "light") }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: [python, -m, infra.deployment, {{ .name }}]
          env: {{- .env | nindent 12 }}
            - {name: HOME, value: /tmp}
            - {name: PYTHONDONTWRITEBYTECODE, value: "1"}
          resources: {{- toYaml $root.Values.pods.hookResources | nindent 12 }}
          securityContext: {{- include "trimtab.containerSecurity" $root | nindent 12 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            {{- with $root.Values.pods.volumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - {name: tmp, emptyDir: {}}
        {{- with $root.Values.pods.volumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end -}}

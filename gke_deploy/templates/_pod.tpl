{{- /* The pod, once: for CronJobs, the one-off Job, back-fills and the chart's test.
       dict: root, args; command (default: the image's, `pipeline`), transfer, settings: its own. */ -}}
{{- define "sid.pod" -}}
{{- $root := .root -}}
{{- $own := .settings | default dict -}}
{{- $values := mergeOverwrite (deepCopy (omit .root.Values "transfers" "config")) (deepCopy (omit $own "resources" "pullSecrets")) -}}
{{- $pullSecrets := ternary $own.pullSecrets $values.image.pullSecrets (hasKey $own "pullSecrets") -}}
{{- $config := .root.Values.config -}}
metadata:
  labels:
    {{- include "sid.transferLabels" (dict "root" $root "transfer" .transfer) | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ printf "%s%s" $config.content $config.location | sha256sum }}
    {{- if not $values.spot }}
    cluster-autoscaler.kubernetes.io/safe-to-evict: "false"
    {{- end }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "sid.serviceAccount" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $values.job.terminationGracePeriodSeconds | int64 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile: {type: RuntimeDefault}
  {{- with $pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- if or $values.spot $values.nodeSelector }}
  nodeSelector:
    {{- if $values.spot }}
    cloud.google.com/gke-spot: "true"
    {{- end }}
    {{- with $values.nodeSelector }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  {{- if or $values.spot $values.tolerations }}
  tolerations:
    {{- if $values.spot }}
    - {key: cloud.google.com/gke-spot, operator: Equal, value: "true", effect: NoSchedule}
    {{- end }}
    {{- with $values.tolerations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  {{- with $values.affinity }}
  affinity: {{ toJson . }}
  {{- end }}
  {{- if $values.sqlProxy.enabled }}
  initContainers:
    {{- include "sid.proxy" $root | nindent 4 }}
  {{- end }}
  containers:
    - name: pipeline
      image: {{ include "sid.image" $root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      {{- with .command }}
      command: {{ toJson . }}
      {{- end }}
      args: {{ toJson .args }}
      terminationMessagePolicy: FallbackToLogsOnError
      env:
        - name: JOB_NAME
          valueFrom: {fieldRef: {fieldPath: "metadata.labels['batch.kubernetes.io/job-name']"}}
        - name: POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        {{- if $values.secrets.googleCredentials }}
        - name: GOOGLE_APPLICATION_CREDENTIALS
          value: {{ printf "/var/run/secrets/tmg_etl/%s" $values.secrets.googleCredentials | quote }}
        {{- end }}
        {{- range $name, $value := $values.env }}
        - name: {{ $name }}
          {{- if kindIs "map" $value }}
          valueFrom: {{ toJson $value.valueFrom }}
          {{- else }}
          value: {{ $value | toString | quote }}
          {{- end }}
        {{- end }}
      {{- with $values.envFrom }}
      envFrom: {{ toJson . }}
      {{- end }}
      securityContext:
        {{- include "sid.containerSecurity" . | nindent 8 }}
      resources: {{ include "sid.resources" (dict "all" $values.resources "own" $own.resources) }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- if not $config.location }}
        - {name: config, mountPath: /etc/tmg_etl, readOnly: true}
        {{- end }}
        {{- if or $values.secrets.existing $values.secrets.secretManager }}
        - {name: secrets, mountPath: /var/run/secrets/tmg_etl, readOnly: true}
        {{- end }}
        {{- range $values.volumeMounts }}
        - {{ toJson . }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: {{ $values.tmpSize }}}
    {{- if not $config.location }}
    - name: config
      configMap: {name: {{ $root.Release.Name }}}
    {{- end }}
    {{- if $values.secrets.existing }}
    - name: secrets
      secret: {secretName: {{ $values.secrets.existing }}, defaultMode: 0440}
    {{- else if $values.secrets.secretManager }}
    - name: secrets
      csi:
        driver: secrets-store-gke.csi.k8s.io
        readOnly: true
        volumeAttributes: {secretProviderClass: {{ $root.Release.Name }}}
    {{- end }}
    {{- range $values.volumes }}
    - {{ toJson . }}
    {{- end }}
{{- end -}}

{{- /* dict: all, own → resources as JSON. A transfer's own are laid over those of all. One that is
       given as a limit only is requested too, and the other way round: neither may be the smaller one. */ -}}
{{- define "sid.resources" -}}
{{- $own := .own | default dict -}}
{{- $made := mergeOverwrite (deepCopy .all) (deepCopy $own) -}}
{{- range $pair := list (list "limits" "requests") (list "requests" "limits") -}}
{{- $from := get $own (first $pair) | default dict -}}
{{- $to := get $made (last $pair) | default dict -}}
{{- range $name, $amount := $from -}}
{{- if and (hasKey $to $name) (not (hasKey (get $own (last $pair) | default dict) $name)) -}}
{{- $_ := set $to $name $amount -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $made -}}
{{- end -}}

{{- define "sid.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sid.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* `restartPolicy: Always` makes an init container a sidecar: it is up before the job's container
       starts, gets SIGTERM after that one has ended, and does not keep the Job from ending. */ -}}
{{- define "sid.proxy" -}}
{{- with .Values.sqlProxy -}}
- name: cloud-sql-proxy
  image: {{ .image }}
  restartPolicy: Always
  args:
    - --structured-logs
    - --exit-zero-on-sigterm
    - --health-check
    - --http-address=0.0.0.0
    - --http-port=9801
    - --port={{ .port | int64 }}
    {{- if .privateIp }}
    - --private-ip
    {{- end }}
    {{- if .iamAuthn }}
    - --auto-iam-authn
    {{- end }}
    {{- if $.Values.secrets.googleCredentials }}
    - --credentials-file=/var/run/secrets/tmg_etl/{{ $.Values.secrets.googleCredentials }}
    {{- end }}
    - {{ .instance | quote }}
  startupProbe:
    httpGet: {path: /startup, port: 9801}
    periodSeconds: 1
    timeoutSeconds: 5
    failureThreshold: 60
  livenessProbe:
    httpGet: {path: /liveness, port: 9801}
    periodSeconds: 60
    timeoutSeconds: 30
    failureThreshold: 5
  securityContext:
    {{- include "sid.containerSecurity" $ | nindent 4 }}
  resources: {{ toJson .resources }}
  {{- if $.Values.secrets.googleCredentials }}
  volumeMounts:
    - {name: secrets, mountPath: /var/run/secrets/tmg_etl, readOnly: true}
  {{- end }}
{{- end -}}
{{- end -}}

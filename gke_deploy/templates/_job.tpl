{{- /* The spec of a Job. What stands before `template` is what a run and a back-fill differ in.
       dict: as for sid.pod; backfill: true for one index each window. */ -}}
{{- define "sid.job" -}}
{{- $values := .root.Values -}}
{{- $own := .settings | default dict -}}
{{- $container := "pipeline" -}}
{{- if .backfill }}
completionMode: Indexed
# The launcher sets it. The API refuses more failed indexes than completions.
completions: {{ max 1 (int64 $values.backfill.maxFailedIndexes) }}
parallelism: {{ $values.backfill.parallelism | int64 }}
backoffLimitPerIndex: {{ $values.backfill.backoffLimitPerIndex | int64 }}
maxFailedIndexes: {{ $values.backfill.maxFailedIndexes | int64 }}
activeDeadlineSeconds: {{ $values.backfill.activeDeadlineSeconds | int64 }}
{{- else }}
backoffLimit: {{ ternary $own.backoffLimit $values.job.backoffLimit (hasKey $own "backoffLimit") | int64 }}
activeDeadlineSeconds: {{ $own.activeDeadlineSeconds | default $values.job.activeDeadlineSeconds | int64 }}
{{- end }}
ttlSecondsAfterFinished: {{ $values.job.ttlSecondsAfterFinished }}
podReplacementPolicy: Failed
podFailurePolicy:
  # The first rule that fits holds. Without a container's name the proxy's exit code would count.
  rules:
    - action: Ignore
      onPodConditions: [{type: DisruptionTarget, status: "True"}]
    {{- if .backfill }}
    - action: FailIndex
      onExitCodes: {containerName: {{ $container }}, operator: In, values: [65{{ if $values.job.oomIsFatal }}, 137{{ end }}]}
    - action: FailJob
      onExitCodes: {containerName: {{ $container }}, operator: In, values: [64, 77, 78]}
    {{- else }}
    - action: FailJob
      onExitCodes: {containerName: {{ $container }}, operator: In, values: [64, 65, 77, 78{{ if $values.job.oomIsFatal }}, 137{{ end }}]}
    {{- end }}
template:
  {{- include "sid.pod" . | nindent 2 }}
{{- end -}}

{{- /* dict: root, settings → labels that are only on Jobs, as Kueue's queue. */ -}}
{{- define "sid.jobLabels" -}}
{{- with mergeOverwrite (deepCopy .root.Values.jobLabels) (deepCopy ((.settings | default dict).jobLabels | default dict)) -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

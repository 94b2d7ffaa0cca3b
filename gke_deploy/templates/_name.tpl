{{- /* Names: lower case, hyphens, at most so many characters. What does not fit ends in a hash of the
       whole name, so that two long names that begin alike stay two. */ -}}

{{- /* dict: text, max → a DNS label. tmg_etl/launch/name.py makes the same ones. */ -}}
{{- define "sid.name" -}}
{{- $plain := .text | replace "_" "-" -}}
{{- $slug := regexReplaceAll "[^a-z0-9-]+" (lower $plain) "-" | trimAll "-" -}}
{{- if and (eq $slug $plain) (le (len $slug) (int .max)) -}}
{{- $slug -}}
{{- else -}}
{{- $hash := sha256sum .text | trunc 8 -}}
{{- printf "%s-%s" ($slug | trunc (int (sub .max 9)) | trimSuffix "-") $hash | trimPrefix "-" -}}
{{- end -}}
{{- end -}}

{{- /* CronJobs may have 52 characters: the controller appends 11 for the name of a Job. A release whose
       name has a hyphen ends in a hash: `sid-dev` and `x` must not be `sid` and `dev-x`. */ -}}
{{- define "sid.cronName" -}}
{{- $text := printf "%s-%s" .release .suffix -}}
{{- if contains "-" .release -}}
{{- $text = printf "%s-%s" $text (printf "%s/%s" .release .suffix | sha256sum | trunc 8) -}}
{{- end -}}
{{- include "sid.name" (dict "text" $text "max" 52) -}}
{{- end -}}

{{- define "sid.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary .Release.Name "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "sid.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sid.labels" -}}
{{ include "sid.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/part-of: {{ .Chart.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- /* dict: root, transfer → labels and who they are about. */ -}}
{{- define "sid.transferLabels" -}}
{{ include "sid.labels" .root }}
app.kubernetes.io/component: {{ include "sid.name" (dict "text" .transfer "max" 63) }}
tmg-etl/transfer: {{ include "sid.name" (dict "text" .transfer "max" 63) }}
{{- end -}}

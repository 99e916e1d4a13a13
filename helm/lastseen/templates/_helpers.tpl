{{- define "lastseen.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 40 characters: a StatefulSet appends to it, and labels end at 63. */ -}}
{{- define "lastseen.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "lastseen.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "lastseen.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "lastseen.instance" -}}
app.kubernetes.io/name: {{ include "lastseen.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* Selects the pod that does the work. */ -}}
{{- define "lastseen.selector" -}}
{{ include "lastseen.instance" . }}
app.kubernetes.io/component: processor
{{- end -}}

{{- define "lastseen.labels" -}}
{{ include "lastseen.instance" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "lastseen.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}:{{ $tag }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ $tag }}
{{- end -}}
{{- end -}}

{{- define "lastseen.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "lastseen.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: name the service account that is there, or set serviceAccount.create: true" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* Whether the local part is on a volume of its own. */ -}}
{{- define "lastseen.hasVolume" -}}
{{- if and .Values.persistence.enabled (not .Values.store.url) -}}true{{- end -}}
{{- end -}}

{{- /* lastseen.yaml: config, with what the chart decides. */ -}}
{{- define "lastseen.config" -}}
{{- $store := .Values.config.store | default dict -}}
{{- range $key := list "path" "url" "options_file" -}}
{{- if hasKey $store $key -}}
{{- fail (printf "config.store.%s is set by the chart: remove it, and use store.url, store.optionsSecret and persistence" $key) -}}
{{- end -}}
{{- end -}}
{{- if hasKey (.Values.config.http | default dict) "listen" -}}
{{- fail "config.http.listen is set by the chart, to 0.0.0.0:8080: remove it" -}}
{{- end -}}
{{- $decided := dict "http" (dict "listen" "0.0.0.0:8080") "store" (dict "path" "/var/lib/lastseen") -}}
{{- if .Values.store.url -}}
{{- $_ := set $decided.store "url" .Values.store.url -}}
{{- if .Values.store.optionsSecret.name -}}
{{- $_ := set $decided.store "options_file" "secrets/store.options" -}}
{{- end -}}
{{- else if .Values.store.optionsSecret.name -}}
{{- fail "store.optionsSecret.name is set without store.url: set the URL too, or remove it" -}}
{{- end -}}
{{- $yaml := toYaml (mustMergeOverwrite (deepCopy .Values.config) $decided) -}}
{{- if regexMatch "SharedAccessKey=|whsec_[A-Za-z0-9+/=]{8}|://[^/@\\s]+:[^/@\\s]+@" $yaml -}}
{{- fail "config holds a secret: put it into a Secret, name that under secretFiles, and write secrets/<path> here" -}}
{{- end -}}
{{- $yaml -}}
{{- end -}}

{{- /* Seconds that config.shutdown.deadline and the margin take, in whole ones, rounded up. */ -}}
{{- define "lastseen.terminationGracePeriodSeconds" -}}
{{- $deadline := dig "shutdown" "deadline" "20s" .Values.config | toString -}}
{{- if not (regexMatch "^[0-9]+ ?(ms|s|m)$" $deadline) -}}
{{- fail (printf "config.shutdown.deadline: %s is no duration such as 20s or 2m" $deadline) -}}
{{- end -}}
{{- $count := regexFind "^[0-9]+" $deadline | int64 -}}
{{- $unit := regexFind "[a-z]+$" $deadline -}}
{{- $seconds := $count -}}
{{- if eq $unit "ms" -}}{{- $seconds = div (add $count 999) 1000 -}}{{- end -}}
{{- if eq $unit "m" -}}{{- $seconds = mul $count 60 -}}{{- end -}}
{{- add $seconds .Values.terminationMarginSeconds -}}
{{- end -}}

{{- /* The files of secrets, as sources of a projected volume: one for each file. */ -}}
{{- define "lastseen.secretSources" -}}
{{- range .Values.secretFiles }}
- secret:
    name: {{ .secret }}
    items:
      - key: {{ .key }}
        path: secrets/{{ .path }}
{{- end }}
{{- if and .Values.store.url .Values.store.optionsSecret.name }}
- secret:
    name: {{ .Values.store.optionsSecret.name }}
    items:
      - key: {{ .Values.store.optionsSecret.key }}
        path: secrets/store.options
{{- end }}
{{- end -}}

{{- /* Egress to a list of address ranges with ports. What must never be reached is cut out of ranges that hold everything. */ -}}
{{- define "lastseen.egress" -}}
{{- range .targets }}
{{- if or (hasPrefix "169.254." .cidr) (hasPrefix "168.63.129.16/" .cidr) -}}
{{- fail (printf "networkPolicy.%s: %s holds instance metadata, with credentials of the node: remove it" $.name .cidr) -}}
{{- end }}
- to:
    - ipBlock:
        cidr: {{ .cidr | quote }}
        {{- if and (eq .cidr "0.0.0.0/0") $.policy.except }}
        except:
          {{- toYaml $.policy.except | nindent 10 }}
        {{- end }}
        {{- if and (eq .cidr "::/0") $.policy.exceptIPv6 }}
        except:
          {{- toYaml $.policy.exceptIPv6 | nindent 10 }}
        {{- end }}
  ports:
    {{- range .ports }}
    - protocol: TCP
      port: {{ . }}
    {{- end }}
{{- end }}
{{- end -}}

{{- /* Egress to name servers. */ -}}
{{- define "lastseen.dns" -}}
- to:
    - namespaceSelector:
        matchLabels:
          {{- toYaml .Values.networkPolicy.dns.namespaceLabels | nindent 10 }}
      podSelector:
        matchLabels:
          {{- toYaml .Values.networkPolicy.dns.podLabels | nindent 10 }}
    {{- range .Values.networkPolicy.dns.cidrs }}
    - ipBlock:
        cidr: {{ . | quote }}
    {{- end }}
  ports:
    - protocol: UDP
      port: 53
    - protocol: TCP
      port: 53
{{- end -}}

{{/* What every service is: the same ports as on one machine, and which files of others it shares.
`calledBy`: who connects to its port, for the network policies; `keys` stands for every service that follows
interaction's keys. `writes`, `reads`: volumes of `storage`. `groups`: its consumer groups on Kafka, and what each
reads. */}}
{{- define "trimtab.table" -}}
gateway:
  api: http
  image: light
  port: 8080
  metrics: 21100
  otlp: 4317
  database: true
  asksVllm: true
  calledBy: [dashboard]
  groups:
    gateway.erasures: [user.erasure_requested.v1]
interaction:
  api: grpc
  image: light
  port: 21001
  metrics: 21101
  database: true
  writes: [archive]
  calledBy: [gateway, feedback, reward, evaluation, drift, retrain, registry, dashboard]
  groups:
    interaction: [interaction.logged.v1]
    annotations: [feedback.mined.v1, reward.scored.v1, assessment.given.v1]
    interaction.audit: [user.erasure_reported.v1]
    interaction.erasures: [user.erasure_requested.v1]
feedback:
  api: grpc
  image: serve
  port: 21002
  metrics: 21102
  database: true
  models: true
  asksVllm: true
  calledBy: [gateway, interaction, dashboard]
  groups:
    feedback.turns: [interaction.logged.v1]
    feedback.explicit: [feedback.given.v1]
    feedback.preferences: [preference.given.v1]
    feedback.people: [membership.updated.v1]
    feedback.erasures: [user.erasure_requested.v1]
reward:
  api: grpc
  image: serve
  port: 21003
  metrics: 21103
  database: true
  models: true
  calledBy: [gateway, interaction, feedback, evaluation, dashboard]
  groups:
    reward.pairs: [preference.proposed.v1]
    reward.ratings: [feedback.mined.v1]
    reward.answers: [interaction.logged.v1]
    reward.erasures: [user.erasure_requested.v1]
evaluation:
  api: grpc
  # It takes log-probabilities with torch, in a child process.
  image: train
  port: 21004
  metrics: 21104
  database: true
  models: true
  reads: [adapters]
  asksVllm: true
  calledBy: [interaction, retrain, dashboard]
  groups:
    evaluation.erasures: [user.erasure_requested.v1]
drift:
  api: grpc
  image: serve
  port: 21005
  metrics: 21105
  database: true
  calledBy: [interaction, dashboard]
  groups:
    drift.feedback: [feedback.mined.v1]
    drift.reward: [reward.scored.v1]
    drift.erasures: [user.erasure_requested.v1]
retrain:
  api: grpc
  # With `retrain.trainer: process` it trains by itself and takes the image `train`.
  image: serve
  port: 21006
  metrics: 21106
  database: true
  models: true
  writes: [training]
  # Of the champions that a training by mnpo is held to.
  reads: [adapters]
  calledBy: [interaction, registry, dashboard]
  groups:
    retrain.pairs: [preference.mined.v1]
    retrain.praised: [feedback.mined.v1]
    retrain.personas: [persona.updated.v1]
    retrain.alarms: [drift.detected.v1]
    retrain.erasures: [user.erasure_requested.v1]
registry:
  api: grpc
  image: serve
  port: 21007
  metrics: 21107
  database: true
  models: true
  writes: [adapters]
  reads: [training]
  asksVllm: true
  calledBy: [gateway, retrain, dashboard]
  groups:
    registry.judge: [feedback.mined.v1]
    registry.rewards: [reward.scored.v1]
dashboard:
  api: http
  image: light
  port: 8090
  metrics: 21108
  calledBy: []
{{- end -}}

module no-mass-delete

go 1.24

require portcullis/policy v0.0.0

replace portcullis/policy => ../../../../plugins/sdk-go

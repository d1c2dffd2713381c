module portcullis/policy

go 1.24

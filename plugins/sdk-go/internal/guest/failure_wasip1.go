package guest

import (
	"errors"
	"unsafe"

	"portcullis/policy"
	"portcullis/policy/internal/abi"
)

// NotConfigured is the answer to a question that comes before the settings. The host does not ask so.
var NotConfigured = policy.Error{Code: "not-configured", Message: "the policy was asked before it was configured"}

// Fail answers with an error.
func Fail(err error) unsafe.Pointer {
	code, message := parts(err)
	return abi.Answer(abi.Failure{Tag: 1, Code: code, Message: message})
}

// FailWide answers with an error where the answer could have a 64-bit number.
func FailWide(err error) unsafe.Pointer {
	code, message := parts(err)
	return abi.Answer(abi.WideFailure{Tag: 1, Code: code, Message: message})
}

func parts(err error) (code, message abi.List) {
	coded := policy.Error{Code: "failed"}
	errors.As(err, &coded)
	return abi.LowerString(coded.Code), abi.LowerString(err.Error())
}

package policy

import (
	"unsafe"

	"portcullis/policy/internal/abi"
	"portcullis/policy/internal/crash"
)

//go:wasmexport portcullis:policy/lifecycle@0.1.1#validate-settings
func validateSettings(at, length uint32) unsafe.Pointer {
	abi.Begin()
	defer abi.End()
	defer crash.Report()
	type result struct {
		tag    uint8
		errors abi.List
	}
	_, err := load(abi.String(abi.List{Ptr: at, Len: length}))
	if err == nil {
		return abi.Answer(result{})
	}
	type settingError struct{ path, message abi.List }
	return abi.Answer(result{tag: 1, errors: abi.LowerMap(settingErrors(err), func(e SettingError) settingError {
		return settingError{abi.LowerString(e.Path), abi.LowerString(e.Message)}
	})})
}

//go:wasmexport portcullis:policy/lifecycle@0.1.1#configure
func configure(at, length uint32) unsafe.Pointer {
	abi.Begin()
	defer abi.End()
	defer crash.Report()
	set, err := load(abi.String(abi.List{Ptr: at, Len: length}))
	if err != nil {
		message := bounded(settingErrors(err).Error(), maxMessage)
		return abi.Answer(abi.Failure{Tag: 1, Code: abi.LowerString("bad-settings"), Message: abi.LowerString(message)})
	}
	type result struct {
		tag      uint8
		commands abi.List
	}
	return abi.Answer(result{commands: abi.LowerStrings(set())})
}

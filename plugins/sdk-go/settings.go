package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// A SettingError says what is wrong in the settings.
type SettingError struct {
	// Path is a JSON pointer (RFC 6901) to the place, such as "/rules/0/verbs".
	Path    string
	Message string
}

func (e SettingError) Error() string { return e.Path + ": " + e.Message }

// SettingErrors has all that is wrong in the settings, so that it is told at once.
type SettingErrors []SettingError

func (e SettingErrors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "; ")
}

// Load makes a policy from its settings, a JSON text, as the gateway does. A name that the settings do not have is an error: a
// misspelt rule must not pass for none.
func Load[S, P any](newPolicy func(S) (P, error), settings string) (P, error) {
	var read S
	var none P
	decoder := json.NewDecoder(bytes.NewReader([]byte(settings)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		return none, misread(err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return none, SettingErrors{{Message: "there is more than one JSON value"}}
	}
	made, err := newPolicy(read)
	if err != nil {
		return none, settingErrors(err)
	}
	return made, nil
}

// settingErrors is an error of any kind as what is wrong in the settings.
func settingErrors(err error) SettingErrors {
	var one SettingError
	var all SettingErrors
	switch {
	case errors.As(err, &all):
		return all
	case errors.As(err, &one):
		return SettingErrors{one}
	}
	return SettingErrors{{Message: err.Error()}}
}

func misread(err error) SettingErrors {
	var mismatch *json.UnmarshalTypeError
	if !errors.As(err, &mismatch) || mismatch.Field == "" {
		return SettingErrors{{Message: strings.TrimPrefix(err.Error(), "json: ")}}
	}
	path := "/" + strings.ReplaceAll(mismatch.Field, ".", "/")
	return SettingErrors{{Path: path, Message: "this is no " + mismatch.Type.String()}}
}

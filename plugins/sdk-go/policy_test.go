package policy

import (
	"errors"
	"strings"
	"testing"
)

func TestAnswersStayWithinTheInterface(t *testing.T) {
	verdict := Deny(strings.Repeat("x", 1023)+"é\x00").Finding(strings.Repeat("é", 100), "\x00\xff")
	if verdict.Decision != Denied || verdict.Message != strings.Repeat("x", 1023) {
		t.Errorf("%d bytes", len(verdict.Message))
	}
	if finding := verdict.Findings[0]; len(finding.Rule) != 128 || finding.Message != " \uFFFD" {
		t.Errorf("%q", finding)
	}
}

func TestAFindingLeavesTheVerdictThatItIsAddedTo(t *testing.T) {
	base := Verdict{Findings: append(make([]Finding, 0, 8), Finding{Rule: "a"})}
	one, two := base.Finding("b", ""), base.Finding("c", "")
	if len(base.Findings) != 1 || one.Findings[1].Rule != "b" || two.Findings[1].Rule != "c" {
		t.Errorf("%v %v %v", base, one, two)
	}
}

type testSettings struct {
	Numbers []uint8 `json:"numbers"`
	Inner   struct {
		Name string `json:"name"`
	} `json:"inner"`
}

func TestSettingsAreReadAndErrorsPointAtTheirPlace(t *testing.T) {
	read := func(s testSettings) (testSettings, error) { return s, nil }
	made, err := Load(read, `{"numbers": [1, 2], "inner": {"name": "x"}}`)
	if err != nil || len(made.Numbers) != 2 || made.Inner.Name != "x" {
		t.Errorf("%v, %v", made, err)
	}
	for settings, path := range map[string]string{
		`{"inner": {"name": 7}}`: "/inner/name",
		`{"numbers": 7}`:         "/numbers",
		`{"number": []}`:         "",
		`{} x`:                   "",
		`{} {}`:                  "",
		`{`:                      "",
	} {
		_, err := Load(read, settings)
		var wrong SettingErrors
		if !errors.As(err, &wrong) || wrong[0].Path != path {
			t.Errorf("%s: %v", settings, err)
		}
	}
}

func TestWhatAPolicyFindsWrongIsTold(t *testing.T) {
	for _, err := range []error{SettingError{"/a", "b"}, SettingErrors{{"/a", "b"}}} {
		_, got := Load(func(struct{}) (int, error) { return 0, err }, `{}`)
		if got == nil || got.Error() != "/a: b" {
			t.Errorf("%v", got)
		}
	}
}

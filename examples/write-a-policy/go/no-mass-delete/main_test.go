package main

import (
	"testing"

	"portcullis/policy"
	"portcullis/policy/policytest"
)

func load(t *testing.T, settings string) *noMassDelete {
	t.Helper()
	p, err := policy.Load(newNoMassDelete, settings)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEveryStatementNeedsAWhereClause(t *testing.T) {
	all := policytest.Statement{LeadingVerb: "DELETE", NoWhere: true}
	some := policytest.Statement{LeadingVerb: "DELETE"}
	for name, test := range map[string]struct {
		statements []policytest.Statement
		want       policy.Decision
	}{
		"every row":      {[]policytest.Statement{all}, policy.Denied},
		"some rows":      {[]policytest.Statement{some}, policy.Allowed},
		"the second one": {[]policytest.Statement{some, all}, policy.Denied},
		"nothing":        {nil, policy.Allowed},
	} {
		t.Run(name, func(t *testing.T) {
			verdict, err := load(t, `{}`).Check(policytest.Session{}, policytest.Command{Statements: test.statements})
			if err != nil || verdict.Decision != test.want {
				t.Errorf("%v, %v", verdict, err)
			}
		})
	}
}

func TestTheClientIsToldWhatTheSettingsSay(t *testing.T) {
	command := policytest.Command{Statements: []policytest.Statement{{LeadingVerb: "UPDATE", NoWhere: true}}}
	verdict, err := load(t, `{"message": "not all of them"}`).Check(policytest.Session{}, command)
	if err != nil || verdict.Message != "not all of them" {
		t.Errorf("%v, %v", verdict, err)
	}
}

func TestAMisspeltSettingIsAnError(t *testing.T) {
	if _, err := policy.Load(newNoMassDelete, `{"massage": "not all of them"}`); err == nil {
		t.Error("it is taken")
	}
}

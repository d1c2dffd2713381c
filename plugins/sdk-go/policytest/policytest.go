// Package policytest has doubles of what the host gives a policy, for tests on any machine.
package policytest

import (
	"strings"
	"testing"

	"portcullis/policy"
	"portcullis/policy/internal/double"
	"portcullis/policy/rows"
)

// A Session is a session, of alice unless the test says otherwise.
type Session struct {
	Name          string
	MemberOf      []string
	TargetName    string
	Labels        map[string]string
	Justification string
}

var _ policy.Session = Session{}

func (s Session) ID() string             { return "0190a6e0-0000-7000-8000-000000000000" }
func (s Session) Protocol() string       { return "postgres" }
func (s Session) Principal() string      { return or(s.Name, "alice") }
func (s Session) Groups() []string       { return s.MemberOf }
func (s Session) Target() string         { return or(s.TargetName, "app") }
func (s Session) ClientAddress() string  { return "192.0.2.1" }
func (s Session) Credential() string     { return "scram-sha-256" }
func (s Session) Reason() (string, bool) { return s.Justification, s.Justification != "" }
func (s Session) Label(name string) (string, bool) {
	value, ok := s.Labels[name]
	return value, ok
}

// A Command is one that is to run, in which the host read these statements.
type Command struct {
	SQLText string
	// Unreadable makes it one that the host could not read. Asking it for statements panics.
	Unreadable bool
	// Prepared makes it one that is only prepared.
	Prepared   bool
	Statements []Statement
	Bound      []policy.Parameter
	// On are its conditions.
	On []policy.Column
}

var _ policy.Command = Command{}

func (c Command) Kind() string                   { return "sql" }
func (c Command) Parsed() bool                   { return !c.Unreadable }
func (c Command) Parameters() []policy.Parameter { return c.Bound }

func (c Command) Phase() policy.Phase {
	if c.Prepared {
		return policy.Prepare
	}
	return policy.Execute
}

func (c Command) Text(maxBytes uint32) string {
	return strings.ToValidUTF8(c.SQLText[:min(len(c.SQLText), int(maxBytes))], "")
}

func (c Command) Fingerprint() string {
	c.mustBeParsed()
	return strings.ToLower(c.SQLText)
}

func (c Command) SQL() []policy.Statement {
	c.mustBeParsed()
	statements := make([]policy.Statement, len(c.Statements))
	for i, statement := range c.Statements {
		statements[i] = statement
	}
	return statements
}

func (c Command) Conditions() []policy.Column {
	c.mustBeParsed()
	return c.On
}

func (c Command) mustBeParsed() {
	if c.Unreadable {
		panic("the policy asks for facts of a command that was not read")
	}
}

// A Statement is one statement, with a WHERE clause unless the test says otherwise.
type Statement struct {
	LeadingVerb string
	May         policy.Effects
	Names       []policy.Relation
	Reads       []policy.ColumnRef
	Calls       []string
	NoWhere     bool
}

var _ policy.Statement = Statement{}

func (s Statement) Dialect() string                 { return "postgres" }
func (s Statement) Verb() string                    { return s.LeadingVerb }
func (s Statement) Relations() []policy.Relation    { return s.Names }
func (s Statement) ColumnsRead() []policy.ColumnRef { return s.Reads }
func (s Statement) Functions() []string             { return s.Calls }
func (s Statement) HasWhere() bool                  { return !s.NoWhere }

func (s Statement) Effects() policy.Effects {
	all := s.May
	for _, relation := range s.Names {
		all |= relation.Effects
	}
	return all
}

// A ResultSet is a result with these columns.
type ResultSet []policy.Column

var _ policy.ResultSet = ResultSet{}

func (r ResultSet) ID() uint64               { return 1 }
func (r ResultSet) Columns() []policy.Column { return r }

// Chunk is an inspected column with these values; nil is NULL.
func Chunk(column uint32, values ...*string) rows.Chunk {
	chunk := rows.Chunk{Column: column, Nulls: make([]byte, (len(values)+7)/8)}
	for row, value := range values {
		if value == nil {
			chunk.Nulls[row/8] |= 1 << (row % 8)
		} else {
			chunk.Data = append(chunk.Data, *value...)
		}
		chunk.Ends = append(chunk.Ends, uint32(len(chunk.Data)))
	}
	return chunk
}

// Text is a value that is not NULL.
func Text(value string) *string { return &value }

// A Host is the one of a test.
type Host struct{ double *double.Host }

// NewHost gives the test a host of its own: without state, its clock at 0, its detectors finding nothing. Tests with a host cannot run
// in parallel.
func NewHost(t *testing.T) Host {
	t.Helper()
	before := double.Current
	t.Cleanup(func() { double.Current = before })
	double.Current = &double.Host{Needles: map[string]string{}}
	return Host{double.Current}
}

// SetNow sets the time, in milliseconds since the Unix epoch.
func (h Host) SetNow(ms uint64) { h.double.NowMS = ms }

// SetStateFailing makes every change of the state fail, or work again.
func (h Host) SetStateFailing(fails bool) { h.double.StateFailing = fails }

// Detect makes a detector find this text and no other.
func (h Host) Detect(detector, text string) { h.double.Needles[detector] = text }

// Lines are what the policy has written to the log.
func (h Host) Lines() []string { return h.double.Lines }

func or(value, usual string) string {
	if value == "" {
		return usual
	}
	return value
}

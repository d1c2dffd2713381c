// Refuses a DELETE, or an UPDATE, without a WHERE clause.
package main

import (
	"cmp"

	"portcullis/policy"
	"portcullis/policy/commands"
)

type settings struct {
	// Message is what the client is told.
	Message string `json:"message"`
}

type noMassDelete struct{ message string }

func newNoMassDelete(s settings) (*noMassDelete, error) {
	message := cmp.Or(s.Message, "this would change every row; add a WHERE clause")
	return &noMassDelete{message}, nil
}

// Check looks at every statement, since a client may send several at once. A command that the gateway could not read has none,
// and asking for them denies it.
func (p *noMassDelete) Check(_ policy.Session, c policy.Command) (policy.Verdict, error) {
	for _, statement := range c.SQL() {
		if !statement.HasWhere() {
			return policy.Deny(p.message).Finding("no-where", statement.Verb()+" without a WHERE clause"), nil
		}
	}
	return policy.Allow(), nil
}

func init() { policy.Export(newNoMassDelete, commands.Hook) }

func main() {}

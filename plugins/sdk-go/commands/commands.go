// Package commands is for policies that decide on sessions and commands.
package commands

import "portcullis/policy"

// A Policy decides on commands. It may be an Opener and an Approver too.
type Policy interface {
	// Check says whether the command may run.
	Check(s policy.Session, c policy.Command) (policy.Verdict, error)
}

// An Opener also decides on sessions. Without it, every session may open.
type Opener interface {
	// Open says whether the session may open.
	Open(s policy.Session) (policy.Verdict, error)
}

// An Approver also decides on commands that people have approved. A policy that demands reviews must be one: otherwise Check is asked
// again, and demanding another review is a denial.
type Approver interface {
	// Approved says whether the command may run now that these people approved it.
	Approved(s policy.Session, c policy.Command, approvers []string) (policy.Verdict, error)
}

var asked Policy

// Hook exports the hooks of a policy; hand it to policy.Export.
func Hook[P Policy](p P) []string {
	asked = p
	return []string{"sql"}
}

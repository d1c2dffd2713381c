// Package policy is for Portcullis policies in Go.
//
// A policy is a type that is made from its settings and answers questions about commands (package commands), about results
// (package rows), or both. Export makes a component of it:
//
//	package main
//
//	import (
//		"portcullis/policy"
//		"portcullis/policy/commands"
//	)
//
//	type settings struct{}
//
//	type readOnly struct{}
//
//	func newReadOnly(settings) (*readOnly, error) { return &readOnly{}, nil }
//
//	func (*readOnly) Check(_ policy.Session, c policy.Command) (policy.Verdict, error) {
//		for _, statement := range c.SQL() {
//			if statement.Effects()&^policy.Read != 0 {
//				return policy.Deny("this target is for reading"), nil
//			}
//		}
//		return policy.Allow(), nil
//	}
//
//	func init() { policy.Export(newReadOnly, commands.Hook) }
//
//	func main() {}
//
// The methods of Session, Command, Statement and ResultSet are calls of the host and copies: read what you need, once. In tests
// they are the doubles of package policytest, and "go test" runs a policy without a gateway. What the host can do otherwise
// is in package host. wit/policy.wit documents every type.
//
// A policy is asked one question at a time. A panic is written to the gateway's log with its place; it denies, and the session gets
// a new instance.
package policy

import "strings"

const (
	maxMessage = 1024
	maxRule    = 128
)

// A Decision is what a policy says of a command.
type Decision uint8

const (
	// Allowed lets it run.
	Allowed Decision = iota
	// Denied refuses it.
	Denied
	// Reviewed holds it until people approve.
	Reviewed
)

// A Verdict is the answer to a command. Make one with Allow, Deny, Review or Rewrite.
type Verdict struct {
	Decision Decision
	// Message is shown to the client with a denial.
	Message string
	// Rewrite is the text to run instead, unless it is empty.
	Rewrite string
	// Approval is what a review demands.
	Approval *Approval
	Findings []Finding
}

// A Finding explains a verdict in the audit; clients never see it. It must not hold a value of a result or a parameter.
type Finding struct {
	// Rule is the rule that spoke, such as "no-where".
	Rule string
	// Message is what it saw.
	Message string
}

// An Approval says what must happen before a held command may run.
type Approval struct {
	// AnyOf has the groups whose members may approve.
	AnyOf []string
	// Quorum is how many different people must.
	Quorum uint32
	// TTLSeconds is how long the request stays open.
	TTLSeconds uint32
	// SameCommand makes it serve identical commands of the same principal on the same target until it expires.
	SameCommand bool
	// Reason is shown to the client and the reviewers.
	Reason string
}

// Allow lets a command run.
func Allow() Verdict { return Verdict{} }

// Deny refuses a command and tells the client why.
func Deny(message string) Verdict {
	return Verdict{Decision: Denied, Message: bounded(message, maxMessage)}
}

// Review holds a command until people approve.
func Review(approval Approval) Verdict {
	approval.Reason = bounded(approval.Reason, maxMessage)
	return Verdict{Decision: Reviewed, Approval: &approval}
}

// Rewrite lets another text run in the command's place.
func Rewrite(text string) Verdict { return Verdict{Rewrite: text} }

// Finding returns the verdict with one more finding.
func (v Verdict) Finding(rule, message string) Verdict {
	finding := Finding{Rule: bounded(rule, maxRule), Message: bounded(message, maxMessage)}
	v.Findings = append(v.Findings[:len(v.Findings):len(v.Findings)], finding)
	return v
}

// bounded cuts a text at a character's boundary, so that a long name in it does not turn an answer into a bad one.
func bounded(text string, limit int) string {
	if len(text) > limit {
		for limit > 0 && text[limit]&0xc0 == 0x80 {
			limit--
		}
		text = text[:limit]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", " ")
}

// An Error says that a policy cannot answer, which denies; the message goes to the client. Hooks may return any error;
// the code of one that is not an Error is "failed".
type Error struct {
	// Code is short and stable, such as "no-quota".
	Code    string
	Message string
}

func (e Error) Error() string { return e.Message }

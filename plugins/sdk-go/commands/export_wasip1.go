package commands

import (
	"unsafe"

	"portcullis/policy"
	"portcullis/policy/internal/abi"
	"portcullis/policy/internal/crash"
	"portcullis/policy/internal/guest"
)

//go:wasmexport portcullis:policy/commands@0.1.1#open
func open(session uint32) unsafe.Pointer {
	abi.Begin()
	defer abi.End()
	defer crash.Report()
	s := guest.Session(session)
	if opener, ok := asked.(Opener); ok {
		return answer(opener.Open(s))
	}
	return answer(policy.Allow(), nil)
}

//go:wasmexport portcullis:policy/commands@0.1.1#check
func check(session, command uint32) unsafe.Pointer {
	abi.Begin()
	defer abi.End()
	defer crash.Report()
	s, c := guest.Session(session), guest.Command(command)
	if asked == nil {
		return guest.Fail(guest.NotConfigured)
	}
	return answer(asked.Check(s, c))
}

//go:wasmexport portcullis:policy/commands@0.1.1#approved
func approved(session, command, at, length uint32) unsafe.Pointer {
	abi.Begin()
	defer abi.End()
	defer crash.Report()
	s, c := guest.Session(session), guest.Command(command)
	if approver, ok := asked.(Approver); ok {
		return answer(approver.Approved(s, c, abi.Strings(abi.List{Ptr: at, Len: length})))
	}
	if asked == nil {
		return guest.Fail(guest.NotConfigured)
	}
	return answer(asked.Check(s, c))
}

func answer(v policy.Verdict, err error) unsafe.Pointer {
	if err != nil {
		return guest.Fail(err)
	}
	lowered := verdict{
		decision: uint8(v.Decision),
		message:  abi.LowerOption(v.Message),
		rewrite:  abi.LowerOption(v.Rewrite),
		findings: abi.LowerMap(v.Findings, func(f policy.Finding) finding {
			return finding{abi.LowerString(f.Rule), abi.LowerString(f.Message)}
		}),
	}
	if a := v.Approval; a != nil {
		lowered.reviewed = 1
		lowered.approval = approval{
			anyOf:      abi.LowerStrings(a.AnyOf),
			quorum:     a.Quorum,
			ttlSeconds: a.TTLSeconds,
			reason:     abi.LowerString(a.Reason),
		}
		if a.SameCommand {
			lowered.approval.reuse = 1
		}
	}
	return abi.Answer(verdictResult{verdict: lowered})
}

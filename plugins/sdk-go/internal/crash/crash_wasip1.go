// Package crash tells the gateway's log where a policy panicked.
package crash

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"portcullis/policy/host"
)

const maxFrames = 8

// Report writes a panic to the log and ends the instance. Defer it.
func Report() {
	reason := recover()
	if reason == nil {
		return
	}
	host.Log(host.Error, fmt.Sprintf("panic: %v%s", reason, places()))
	os.Exit(2)
}

// places are where the panic came from, the innermost first.
func places() string {
	callers := make([]uintptr, 32)
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers)])
	var text strings.Builder
	for count := 0; count < maxFrames; {
		frame, more := frames.Next()
		if frame.Function != "" && !strings.HasPrefix(frame.Function, "runtime.") {
			fmt.Fprintf(&text, ", at %s:%d in %s", frame.File, frame.Line, frame.Function)
			count++
		}
		if !more {
			break
		}
	}
	return text.String()
}

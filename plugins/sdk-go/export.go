package policy

// load makes the policy and, once it is called, lets the hooks ask it; that gives the kinds of command that it is asked about.
// Export sets it.
var load func(settings string) (configure func() []string, err error)

// Export makes a component of a policy: newPolicy makes an instance from the settings, a struct that encoding/json can read, and hooks
// are commands.Hook, rows.Hook or both. Call it in init. Hooks of packages that are not imported are not exported, and the gateway
// never asks them.
func Export[S, P any](newPolicy func(S) (P, error), hooks ...func(P) []string) {
	load = func(settings string) (func() []string, error) {
		made, err := Load(newPolicy, settings)
		return func() (kinds []string) {
			for _, hook := range hooks {
				kinds = append(kinds, hook(made)...)
			}
			return kinds
		}, err
	}
}

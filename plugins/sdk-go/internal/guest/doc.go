//go:build !wasip1

// Package guest is between the exported functions and a policy, where there is a gateway.
package guest

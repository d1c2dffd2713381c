// Package guest is between the exported functions and a policy.
package guest

import (
	"portcullis/policy"
	"portcullis/policy/internal/abi"
	"unsafe"
)

type (
	session   uint32
	command   uint32
	statement uint32
	resultSet uint32
)

// Session is the session of this handle, which is given back when the question has been answered.
func Session(handle uint32) policy.Session {
	abi.AtEnd(func() { dropSession(handle) })
	return session(handle)
}

// Command is the command of this handle, which is given back when the question has been answered.
func Command(handle uint32) policy.Command {
	abi.AtEnd(func() { dropCommand(handle) })
	return command(handle)
}

// ResultSet is the result of this handle, which is given back when the question has been answered.
func ResultSet(handle uint32) policy.ResultSet {
	abi.AtEnd(func() { dropResultSet(handle) })
	return resultSet(handle)
}

func text(read func(uint32, unsafe.Pointer), handle uint32) string {
	var out abi.List
	read(handle, unsafe.Pointer(&out))
	return abi.String(out)
}

func list(read func(uint32, unsafe.Pointer), handle uint32) abi.List {
	var out abi.List
	read(handle, unsafe.Pointer(&out))
	return out
}

func (s session) ID() string            { return text(sessionID, uint32(s)) }
func (s session) Protocol() string      { return text(sessionProtocol, uint32(s)) }
func (s session) Principal() string     { return text(sessionPrincipal, uint32(s)) }
func (s session) Groups() []string      { return abi.Strings(list(sessionGroups, uint32(s))) }
func (s session) Target() string        { return text(sessionTarget, uint32(s)) }
func (s session) ClientAddress() string { return text(sessionClientAddress, uint32(s)) }
func (s session) Credential() string    { return text(sessionCredential, uint32(s)) }

func (s session) Label(name string) (string, bool) {
	var out abi.OptionList
	sessionLabel(uint32(s), name, unsafe.Pointer(&out))
	return abi.String(out.List), out.Some != 0
}

func (s session) Reason() (string, bool) {
	var out abi.OptionList
	sessionReason(uint32(s), unsafe.Pointer(&out))
	return abi.String(out.List), out.Some != 0
}

func (c command) Kind() string        { return text(commandKind, uint32(c)) }
func (c command) Phase() policy.Phase { return policy.Phase(commandPhase(uint32(c))) }
func (c command) Fingerprint() string { return text(commandFingerprint, uint32(c)) }
func (c command) Parsed() bool        { return commandParsed(uint32(c)) != 0 }

func (c command) Text(maxBytes uint32) string {
	var out abi.List
	commandText(uint32(c), maxBytes, unsafe.Pointer(&out))
	return abi.String(out)
}

func (c command) SQL() []policy.Statement {
	return abi.Map(list(commandSQL, uint32(c)), func(handle uint32) policy.Statement {
		abi.AtEnd(func() { dropStatement(handle) })
		return statement(handle)
	})
}

func (c command) Parameters() []policy.Parameter {
	type layout struct {
		value  abi.OptionList
		binary uint8
	}
	return abi.Map(list(commandParameters, uint32(c)), func(p layout) policy.Parameter {
		parameter := policy.Parameter{Binary: p.binary != 0}
		if p.value.Some != 0 {
			parameter.Value = append([]byte{}, abi.Slice[byte](p.value.List)...)
		}
		return parameter
	})
}

func (c command) Conditions() []policy.Column { return columns(list(commandConditions, uint32(c))) }

func (s statement) Dialect() string         { return text(statementDialect, uint32(s)) }
func (s statement) Verb() string            { return text(statementVerb, uint32(s)) }
func (s statement) Effects() policy.Effects { return policy.Effects(statementEffects(uint32(s))) }
func (s statement) Functions() []string     { return abi.Strings(list(statementFunctions, uint32(s))) }
func (s statement) HasWhere() bool          { return statementHasWhere(uint32(s)) != 0 }

func (s statement) Relations() []policy.Relation {
	type layout struct {
		schema, name abi.List
		effects      uint16
	}
	return abi.Map(list(statementRelations, uint32(s)), func(r layout) policy.Relation {
		return policy.Relation{Schema: abi.String(r.schema), Name: abi.String(r.name), Effects: policy.Effects(r.effects)}
	})
}

func (s statement) ColumnsRead() []policy.ColumnRef {
	return columnRefs(list(statementColumnsRead, uint32(s)))
}

func (r resultSet) ID() uint64 { return resultSetID(uint32(r)) }

func (r resultSet) Columns() []policy.Column { return columns(list(resultSetColumns, uint32(r))) }

func columns(from abi.List) []policy.Column {
	type layout struct {
		name, typeName  abi.List
		computed        uint8
		origins, labels abi.List
	}
	return abi.Map(from, func(c layout) policy.Column {
		return policy.Column{
			Name:     abi.String(c.name),
			TypeName: abi.String(c.typeName),
			Computed: c.computed != 0,
			Origins:  columnRefs(c.origins),
			Labels:   abi.Strings(c.labels),
		}
	})
}

func columnRefs(l abi.List) []policy.ColumnRef {
	type layout struct{ schema, relation, name abi.List }
	return abi.Map(l, func(c layout) policy.ColumnRef {
		return policy.ColumnRef{Schema: abi.String(c.schema), Relation: abi.String(c.relation), Name: abi.String(c.name)}
	})
}

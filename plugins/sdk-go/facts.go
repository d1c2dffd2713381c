package policy

// A Session is a principal's connection to a target.
type Session interface {
	// ID is a UUID in hyphenated form.
	ID() string
	// Protocol is "postgres".
	Protocol() string
	// Principal is the authenticated name.
	Principal() string
	// Groups are the principal's, from the gateway's configuration.
	Groups() []string
	// Target is the name of the target.
	Target() string
	// Label is a label of the target, and whether there is one.
	Label(name string) (string, bool)
	// ClientAddress is the client's IP address, without the port.
	ClientAddress() string
	// Credential is what proved the principal's name: "certificate" or "scram-sha-256".
	Credential() string
	// Reason is the justification given when the session was opened, and whether there is one.
	Reason() (string, bool)
}

// A Phase is how far the client has gone with a command.
type Phase uint8

const (
	// Prepare asks the server to parse, describe or bind; parameters may be missing.
	Prepare Phase = iota
	// Execute is to run.
	Execute
)

// A Command is what a client wants to run.
type Command interface {
	// Kind is "sql".
	Kind() string
	Phase() Phase
	// Text is the exact text that will run, its first maxBytes bytes.
	Text(maxBytes uint32) string
	// Fingerprint is what alike commands share. It denies if the command is not Parsed.
	Fingerprint() string
	// Parsed is false when the host could not read the command.
	Parsed() bool
	// SQL has the statements in order. It denies if the command is not Parsed, whatever the policy answers.
	SQL() []Statement
	// Parameters are the bound ones, in order.
	Parameters() []Parameter
	// Conditions are what decides which rows it finds, in which order and in which groups, with the base columns that each
	// derives from.
	Conditions() []Column
}

// A Parameter is a value bound to a placeholder.
type Parameter struct {
	// Value has the bytes on the wire; nil is NULL.
	Value []byte
	// Binary tells that they are in the type's binary format instead of text.
	Binary bool
}

// Effects are what running a statement may do.
type Effects uint16

const (
	// Read reads rows of a relation.
	Read Effects = 1 << iota
	// Write inserts, updates, deletes, merges or truncates rows.
	Write
	// DDL creates, alters or drops objects.
	DDL
	// Privilege changes who may do what.
	Privilege
	// SessionState changes how later statements of the session are read or run.
	SessionState
	// Transaction begins, ends or marks a transaction.
	Transaction
	// CopyIn takes a stream of rows from the client.
	CopyIn
	// CopyOut sends a stream of rows to the client.
	CopyOut
	// ServerFile reads or writes files, or runs programs, on the server.
	ServerFile
	// Opaque runs text that the host cannot see: treat it as able to do anything.
	Opaque
)

// A Relation is one that a statement names.
type Relation struct {
	// Schema is empty where the text gives none.
	Schema, Name string
	// Effects are what the statement does to it.
	Effects Effects
}

// A ColumnRef is a column of a relation.
type ColumnRef struct {
	// Schema and Relation are empty where the text or the catalogue does not tell; Name is "*" for all columns.
	Schema, Relation, Name string
}

// A Statement is one SQL statement, as the server's own grammar reads it.
type Statement interface {
	// Dialect is "postgres".
	Dialect() string
	// Verb is the leading verb in upper case, such as "DROP TABLE".
	Verb() string
	// Effects are the union of what it and its parts may do.
	Effects() Effects
	Relations() []Relation
	// ColumnsRead are the columns it names, as far as the text tells.
	ColumnsRead() []ColumnRef
	// Functions are those that it calls.
	Functions() []string
	// HasWhere is false when an UPDATE or DELETE anywhere in it has no WHERE clause, or one that is a constant.
	HasWhere() bool
}

// A Column is one of a result.
type Column struct {
	// Name is what the client sees. It proves nothing: whoever writes the query chooses it.
	Name string
	// TypeName is the server's name of the type, such as "text" or "int4".
	TypeName string
	// Computed is false for a plain copy of one base column.
	Computed bool
	// Origins are the base columns that it may derive from. None means that the host does not know, unless Computed is false.
	Origins []ColumnRef
	// Labels are those that the gateway's configuration gives the origins, such as "pii".
	Labels []string
}

// A ResultSet is a result before its first row.
type ResultSet interface {
	// ID is unique within the session, and the same for every batch of the result.
	ID() uint64
	Columns() []Column
}

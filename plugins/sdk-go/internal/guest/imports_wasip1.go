package guest

import "unsafe"

//go:wasmimport portcullis:policy/facts@0.1.1 [method]session.id
func sessionID(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]session.protocol
func sessionProtocol(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]session.principal
func sessionPrincipal(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]session.groups
func sessionGroups(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]session.target
func sessionTarget(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]session.label
func sessionLabel(handle uint32, name string, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]session.client-address
func sessionClientAddress(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]session.credential
func sessionCredential(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]session.reason
func sessionReason(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [resource-drop]session
func dropSession(handle uint32)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]command.kind
func commandKind(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]command.phase
func commandPhase(handle uint32) uint32

//go:wasmimport portcullis:policy/facts@0.1.1 [method]command.text
func commandText(handle, maxBytes uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]command.fingerprint
func commandFingerprint(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]command.parsed
func commandParsed(handle uint32) uint32

//go:wasmimport portcullis:policy/facts@0.1.1 [method]command.sql
func commandSQL(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]command.parameters
func commandParameters(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]command.conditions
func commandConditions(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [resource-drop]command
func dropCommand(handle uint32)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]sql-statement.dialect
func statementDialect(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]sql-statement.verb
func statementVerb(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]sql-statement.effects
func statementEffects(handle uint32) uint32

//go:wasmimport portcullis:policy/facts@0.1.1 [method]sql-statement.relations
func statementRelations(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]sql-statement.columns-read
func statementColumnsRead(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]sql-statement.functions
func statementFunctions(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]sql-statement.has-where
func statementHasWhere(handle uint32) uint32

//go:wasmimport portcullis:policy/facts@0.1.1 [resource-drop]sql-statement
func dropStatement(handle uint32)

//go:wasmimport portcullis:policy/facts@0.1.1 [method]result-set.id
func resultSetID(handle uint32) uint64

//go:wasmimport portcullis:policy/facts@0.1.1 [method]result-set.columns
func resultSetColumns(handle uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/facts@0.1.1 [resource-drop]result-set
func dropResultSet(handle uint32)

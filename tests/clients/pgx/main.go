// pgx: binary and text, each of its ways to send a query, batches, COPY, cancellation, a pool, and database/sql over it.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
)

var ctx = context.Background()

func main() {
	modes := []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement,
		pgx.QueryExecModeCacheDescribe,
		pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec,
		pgx.QueryExecModeSimpleProtocol,
	}
	for _, mode := range modes {
		play(mode)
	}
	pool()
	overDatabaseSQL()
	fmt.Println("ok")
}

func play(mode pgx.QueryExecMode) {
	config := must(pgx.ParseConfig(""))
	config.DefaultQueryExecMode = mode
	conn := must(pgx.ConnectConfig(ctx, config))
	defer conn.Close(ctx)
	log.SetPrefix(mode.String() + ": ")

	var id int
	var email, card, ssn string
	for range 3 {
		row := conn.QueryRow(ctx, "select id, email, card, ssn from customers where id = $1", 1)
		check(row.Scan(&id, &email, &card, &ssn))
		same(fmt.Sprint(id, email, card, ssn), "1a***@example.com***************1111[redacted] ")
	}
	fails("42501", exec(conn, "delete from orders"))
	fails("22012", exec(conn, "select 1 / $1::int", 0))
	fails("42P01", exec(conn, "select * from nowhere"))
	same(count(conn), 40)

	transaction(conn)
	batch(conn)
	copies(conn)
	cancel(conn)
}

func transaction(conn *pgx.Conn) {
	tx := must(conn.Begin(ctx))
	must(tx.Exec(ctx, "insert into orders (id, customer, product, cents) values ($1, 1, 'lamp', 5)", 900))
	inner := must(tx.Begin(ctx))
	_, err := inner.Exec(ctx, "truncate orders")
	fails("42501", err)
	_, err = inner.Exec(ctx, "select 1")
	fails("25P02", err)
	check(inner.Rollback(ctx))
	same(count(tx), 41)
	check(tx.Rollback(ctx))
	same(count(conn), 40)
}

// Sent together, one of them denied: what stands behind it in the same batch does not run.
func batch(conn *pgx.Conn) {
	batch := &pgx.Batch{}
	for n := range 20 {
		// As tools that generate code name their queries.
		batch.Queue("-- name: Number :one\nselect $1::int", n)
	}
	batch.Queue("update orders set cents = 0")
	batch.Queue("select 1")
	results := conn.SendBatch(ctx, batch)
	// In the simple protocol all of it is one command, and what is prepared first is denied first.
	var err error
	for n := 0; err == nil; n++ {
		var got int
		if err = results.QueryRow().Scan(&got); err == nil {
			same(got, n)
		}
	}
	fails("42501", err)
	results.Close()
	same(count(conn), 40)
}

func copies(conn *pgx.Conn) {
	rows := pgx.CopyFromSlice(500, func(n int) ([]any, error) {
		return []any{int32(7000 + n), int32(1), fmt.Sprint("thing ", n), int32(5)}, nil
	})
	columns := []string{"id", "customer", "product", "cents"}
	same(int(must(conn.CopyFrom(ctx, pgx.Identifier{"orders"}, columns, rows))), 500)
	_, err := conn.PgConn().CopyTo(ctx, &strings.Builder{}, "copy customers to stdout")
	fails("42501", err)
	same(int(must(conn.Exec(ctx, "delete from orders where id >= $1", 7000)).RowsAffected()), 500)
}

func cancel(conn *pgx.Conn) {
	ended := make(chan error)
	go func() { ended <- exec(conn, "select pg_sleep(600)") }()
	for {
		// A cancel that comes before its command hits nothing.
		check(conn.PgConn().CancelRequest(ctx))
		select {
		case err := <-ended:
			fails("57014", err)
			same(count(conn), 40)
			return
		default:
		}
	}
}

func pool() {
	pool := must(pgxpool.New(ctx, "pool_max_conns=3"))
	defer pool.Close()
	sums := make(chan int)
	for n := range 50 {
		go func() {
			var got int
			check(pool.QueryRow(ctx, "select $1::int", n).Scan(&got))
			sums <- got
		}()
	}
	total := 0
	for range 50 {
		total += <-sums
	}
	same(total, 1225)
}

func overDatabaseSQL() {
	db := must(sql.Open("pgx", ""))
	defer db.Close()
	statement := must(db.Prepare("select email from customers where id = $1"))
	var email string
	check(statement.QueryRow(2).Scan(&email))
	same(email, "g***@example.com")
	_, err := db.Exec("drop table orders")
	fails("42501", err)
}

type querier interface {
	QueryRow(ctx context.Context, text string, args ...any) pgx.Row
}

func count(conn querier) int {
	var count int
	check(conn.QueryRow(ctx, "select count(*) from orders").Scan(&count))
	return count
}

func exec(conn *pgx.Conn, text string, args ...any) error {
	_, err := conn.Exec(ctx, text, args...)
	return err
}

func fails(state string, err error) {
	var fault *pgconn.PgError
	if !errors.As(err, &fault) || fault.Code != state {
		stop("%v is not %s", err, state)
	}
}

func same[T comparable](is, expected T) {
	if is != expected {
		stop("%v is not %v", is, expected)
	}
}

func check(err error) {
	if err != nil {
		stop("%v", err)
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func stop(format string, args ...any) {
	log.SetFlags(log.Lshortfile)
	log.Output(3, fmt.Sprintf(format, args...))
	os.Exit(1)
}

-- Statements that do more than read, one a line, for the tables of effects.rs.

-- Rows
insert into t values (9, 9)
insert into t select 9, 9
insert into t values (1, 9) on conflict (id) do update set a = 9
update t set a = 9 where id = 1
update v set a = 9 where id = 1
delete from t where id = 1
delete from v
merge into t using (select 1 as id) x on t.id = x.id when matched then delete
truncate t
truncate table only t restart identity
with x as (delete from t returning *) select * from x
with x as (update t set a = 9 returning a) select count(*) from x
with x as (insert into t values (9, 9) returning id), y as (select 1) select * from y
with x as materialized (select 1) insert into t select 9, 9 from x
select * from t for update
select * from (select * from t for no key update) x
select * from t for share of t nowait
select * into copy_of_t from t
create table copy_of_t as table t
create temp table copy_of_t as select 1
create table copy_of_t as values (1)
refresh materialized view m
copy t from stdin
copy t (id) from stdin with (format csv)
copy (delete from t returning *) to stdout
explain analyze delete from t where id = 1
explain (verbose, analyze, buffers off) update t set a = 9 where id = 1
explain (analyze) insert into t values (9, 9)
explain analyze create table copy_of_t as select 1
prepare x as delete from t where id = 1
lock table t
lock t in exclusive mode
select nextval('s')
select setval('s', 9)
select setval('s'::regclass, 9) where true
select lo_create(0)
select lo_creat(-1)
select lo_from_bytea(0, 'x')
select lo_put(1, 0, 'x')
select lo_unlink(1)
select lowrite(0, 'x')
update pg_settings set setting = 'alt' where name = 'search_path'

-- Definitions
create table x (a integer)
create temp table t (id integer, a integer)
create unlogged table x (a integer)
create table x (like t including all)
create table x () inherits (t)
create table x partition of t for values in (1)
create view x as select 1
create or replace view v as select * from t
create temp view t as select 1
create recursive view x (n) as select 1
create materialized view x as select 1
create rule r as on insert to t do also delete from log
create rule r as on select to log do instead select * from t
create trigger r before update on t for each row execute function tr()
create event trigger r on ddl_command_start execute function ev()
create function g() returns integer language sql as 'delete from t; select 1'
create function g() returns bigint language sql begin atomic delete from t; select count(*) from log; end
create or replace procedure p() language sql as ''
create aggregate g (integer) (sfunc = int4pl, stype = integer)
create operator ## (leftarg = integer, rightarg = integer, function = int4pl)
create operator class g for type integer using btree as operator 1 <
create operator family g using btree
create type x as (a integer)
create type x as enum ('a')
create type x as range (subtype = integer)
create domain x as integer check (value > f(1))
create cast (integer as mood) with inout
create collation x from "C"
create conversion x for 'LATIN1' to 'UTF8' from iso8859_1_to_utf8
create index on t (a)
create unique index concurrently on t (a)
create statistics x on id, a from t
create sequence x
create schema x
create schema x create table y (a integer) grant select on y to public
create text search configuration x (copy = simple)
create text search dictionary x (template = simple)
create access method x type table handler heap_tableam_handler
create language x handler plpgsql_call_handler
create transform for integer language plpgsql (from sql with function int4out(integer))
create extension cube
create foreign data wrapper x
create server x foreign data wrapper dblink_fdw
create user mapping for public server x
create foreign table x (a integer) server x
import foreign schema public from server x into public
create publication x for table t
create publication x for all tables
create subscription x connection 'host=nowhere' publication y with (connect = false)
create database x
create tablespace x location '/nowhere'
alter table t add column b integer
alter table t drop column a
alter table t alter a type text
alter table t rename to x
alter table t rename column a to b
alter table t set schema alt
alter table t owner to other
alter table t disable trigger all
alter table t enable row level security
alter table t replica identity full
alter view v set (security_barrier)
alter index t_pkey rename to x
alter sequence s restart
alter function f(integer) security definer
alter function f(integer) set search_path = alt
alter type mood add value 'cross'
alter domain d set not null
alter schema alt rename to x
alter extension dblink set schema alt
alter database shop set search_path = alt
alter database shop rename to x
alter default privileges grant select on tables to public
alter system set work_mem = '1MB'
alter system reset all
alter event trigger x disable
alter publication x add table t
alter statistics x set statistics 10
alter text search configuration simple owner to other
alter large object 1 owner to other
drop table t
drop table if exists t, log cascade
drop view v
drop materialized view m
drop sequence s
drop schema alt cascade
drop function f
drop procedure p
drop type mood
drop domain d
drop extension dblink
drop role other
drop owned by other
drop database x
drop tablespace x
drop index t_pkey
drop trigger r on t
drop rule r on t
drop policy r on t
drop cast (integer as mood)
drop operator ## (integer, integer)
drop publication x
drop subscription x
drop event trigger x
drop server x
drop user mapping for public server x
drop access method x
drop language x
drop statistics x
drop collation x
drop foreign data wrapper x
comment on table t is 'x'
comment on column t.a is null
security label on table t is 'x'
vacuum full t
vacuum t
vacuum (analyze) t
cluster t using t_pkey
cluster
reindex table t
reindex schema public

-- Privileges
create role x
create user x password 'x'
create group x
alter role other superuser
alter role other set search_path = alt
alter user other rename to x
alter group other add user portcullis
grant select on t to public
grant select (a) on t to other
grant other to portcullis
grant all on all tables in schema public to public
grant all on database shop to public
revoke all on t from public
revoke other from portcullis
reassign owned by other to portcullis
create policy r on t using (true)
alter policy r on t to public

-- The session, for what comes after
set search_path = alt
set local search_path = alt
set session search_path to default
set role other
set session authorization other
set session characteristics as transaction read only
set standard_conforming_strings = off
set time zone 'utc'
set names 'utf8'
set xml option document
reset search_path
reset all
reset role
discard all
discard temp
listen x
unlisten *
select set_config('search_path', 'alt', false)
select pg_catalog.set_config('role', 'other', true) from t
select * from set_config('search_path', 'alt', false)
values (set_config('search_path', 'alt', false))
with x as (select set_config('search_path', 'alt', false)) select 1 from x

-- Files and programs
copy t to '/tmp/x'
copy t from '/tmp/x'
copy t to program 'cat'
copy t from program 'cat'
select pg_read_file('x')
select pg_read_binary_file('x', 0, 1)
select ('x'::text).pg_read_file
select pg_ls_dir('.')
select pg_stat_file('x')
select lo_import('/tmp/x')
select lo_export(1, '/tmp/x')
load 'auto_explain'

-- What cannot be seen
do $$ begin delete from t; end $$
do language plpgsql 'begin execute ''dr'' || ''op table t''; end'
call p()
execute x
explain execute x
create table copy_of_t as execute x
select query_to_xml('delete from t', true, false, '')
select query_to_xmlschema('select 1', true, false, '')
select table_to_xml('t', true, false, '')
select schema_to_xml('public', true, false, '')
select database_to_xml(true, false, '')
select cursor_to_xml('c', 1, true, false, '')
select * from dblink('dbname=shop', 'delete from t returning 1') as x(a integer)
select dblink_exec('dbname=shop', 'delete from t')
select dblink_connect('dbname=shop')
select dblink_send_query('x', 'delete from t')
select * from crosstab('delete from t returning 1, 2, 3') as x(a integer, b integer)
select * from connectby('t', 'a', 'id', '1', 0) as x(a integer, b integer, c integer)
select ts_stat('select to_tsvector(''x'')')
select ts_rewrite('a'::tsquery, 'select null::tsquery, null::tsquery')

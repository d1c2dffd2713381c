-- Statements that only read, or look as if they did more, one a line, for the tables of effects.rs.
select 1
select * from t
table t
values (1), (2)
with x as (select * from t) select * from x
with recursive x(n) as (select 1 union all select n + 1 from x where n < 5) select * from x
explain delete from t
explain update t set a = 9
explain (verbose, costs off) insert into t values (9, 9)
explain (analyze false) delete from t
explain (analyze 'off') delete from t
explain create table copy_of_t as select 1
explain analyze select * from t
prepare x as select * from t
copy t to stdout
copy (select * from t) to stdout
select 1 as delete, 2 as "update", 3 as drop
select 'delete from t'
select has_table_privilege('t', 'delete') as delete
select $$ drop table t $$
/* drop table t */ select 1
select count(*) from t -- ; drop table t
show search_path
show all
begin
start transaction read write
commit
savepoint x
set transaction isolation level serializable
deallocate all
close all
declare c cursor for select * from t
select currval('s')
select current_setting('search_path')
select lo_get(1)
analyze t
lock t in access share mode
select x.delete from (select 1 as delete) x
notify x
checkpoint

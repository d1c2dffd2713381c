-- Commands that put what is protected somewhere and read it there, a script a paragraph. Masks alone see through these.

select set_config('a.b', string_agg(secret, ','), false) from people
show a.b

select set_config('a.b', string_agg(secret, ','), false) from people
select current_setting('a.b')

select set_config('application_name', secret, false) from people where id = 1
show application_name

update pg_settings s set setting = p.secret from people p where s.name = 'application_name' and p.id = 1
show application_name

update pg_settings set setting = (select secret from people where id = 1) where name = 'application_name'
select 1

begin
select lo_from_bytea(77, convert_to(string_agg(secret, ','), 'utf8')) from people
select convert_from(lo_get(77), 'utf8')
rollback

begin
select lo_create(77)
select lo_put(77, 0, raw) from people where id = 1
select lo_get(77)
rollback

begin
select lo_create(77), lo_open(77, 393216)
select lowrite(0, raw) from people where id = 1
select lo_get(77)
rollback

begin
select lo_create(pin::oid) from people
select oid from pg_largeobject_metadata
rollback

begin
select setval('counter', pin) from people where id = 1
select last_value from counter
rollback

listen c
select pg_notify('c', secret) from people
select 1

listen c
with x as (select secret from people) select pg_catalog.pg_notify('c', secret) from x
select 1

begin
insert into notes select id + 10, id, secret from people
select body from notes
rollback

begin
insert into notes (id, body) values (10, (select secret from people where id = 1))
select body from notes
rollback

begin
insert into notes values (1) on conflict (id) do update set body = (select secret from people where id = 1)
table notes
rollback

begin
update notes set body = (select max(secret) from people)
select body from notes
rollback

begin
update notes n set person = p.pin from people p where p.id = n.id
select person from notes
rollback

begin
merge into notes n using people p on n.id = p.id when matched then update set body = p.secret
table notes
rollback

begin
merge into notes n using (select id + 10 as id, secret from people) p on n.id = p.id when not matched then insert values (p.id, 1, p.secret)
table notes
rollback

begin
with x as (insert into notes select id + 10, id, secret from people returning body) select count(*) from x
table notes
rollback

begin
with x as (select secret from people), y as (update notes set body = (select max(secret) from x)) select 1
table notes
rollback

begin
select secret into temp t from people
select secret from t
rollback

create temp table t as table people
select secret from t

begin
create materialized view m as select secret from people
select secret from m
rollback

create temp table t (a text)
insert into t select hidden from directory
select a from t

create temp table t (a text)
explain (analyze, costs off, timing off, summary off) insert into t select secret from people
select a from t

create temp table t (a text)
prepare p as insert into t select secret from people
execute p
select a from t

create temp view v as select secret as a from people
select a from v

prepare p as select secret from people
execute p
explain (costs off) execute p

declare k cursor with hold for select secret from people
fetch all from k

-- The same where masks alone cannot see it: it takes another rule, or a role at the server that may not do it.

do $$ begin perform set_config('application_name', (select secret from people where id = 1), false); end $$
show application_name

listen c
do $$ begin perform pg_notify('c', (select secret from people where id = 1)); end $$
select 1

begin
do $$ begin insert into notes select id + 10, id, secret from people; end $$
table notes
rollback

begin
do $$ begin execute 'insert into notes select id + 10, id, sec' || 'ret from people'; end $$
table notes
rollback

begin
select query_to_xml('select pg_advisory_xact_lock(pin) from people', true, false, '')
select objid from pg_locks where locktype = 'advisory' order by 1
rollback

begin
create function f() returns void language sql as 'insert into notes select id + 10, id, secret from people'
select f()
table notes
rollback

begin
create procedure f() language sql as 'insert into notes select id + 10, id, secret from people'
call f()
table notes
rollback

begin
create rule r as on update to notes do also insert into notes select id + 10, id, secret from people
update notes set body = 'x' where id = 1
table notes
rollback

begin
alter table people rename column secret to plain
select plain from people
rollback

begin
alter table people rename to folk
select secret from folk
rollback

begin
alter table people alter remark type text using secret
select remark from people
rollback

begin
create table heir () inherits (people)
insert into heir select * from people
select secret from heir
rollback

begin
create view v as select set_config('application_name', secret, false) from people where id = 1
table v
show application_name
rollback

begin
update people set name = secret
select name from people
rollback

select pg_advisory_lock(pin) from people
select objid from pg_locks where locktype = 'advisory' order by 1

begin
select pg_try_advisory_xact_lock_shared(ascii(secret), pin) from people where id = 1
select classid, objid from pg_locks where locktype = 'advisory'
rollback

begin
select lo_create(77), lo_open(77, 393216)
select lo_lseek64(0, pin, 0) from people where id = 1
select lo_tell64(0)
rollback

begin
select lo_create(77), lo_open(77, 393216)
select lo_truncate64(0, pin) from people where id = 1
select lo_lseek64(0, 0, 2)
rollback

select setseed(0.5)
select setseed(1.0 / pin) from people where id = 1
select random()

begin
create sequence s
alter table people alter pin set default nextval('s')
select setval('s', pin) from people where id = 1
table s
rollback

begin
create function f() returns trigger language plpgsql as $$ begin new.body := (select secret from people where id = 1); return new; end $$
create trigger t before update on notes for each row execute function f()
update notes set person = 1 where id = 1
table notes
rollback

-- Every column of people but id, name and remark is protected, under every type that a result can have.
create domain phrase as text;
create type pair as (one text, two integer);
create sequence counter;
create table people (
    id integer primary key,
    name text not null check (length(name) < 100),
    secret text unique,
    code varchar(40),
    pin integer,
    big bigint,
    ratio float8,
    amount numeric,
    born date,
    seen timestamptz,
    uid uuid,
    doc jsonb,
    tags text[],
    raw bytea,
    said phrase,
    duo pair,
    remark text
);
create table notes (id integer primary key, person integer, body text);
create view directory as select id, name, secret as hidden, pin + 1 as next from people;
create view nested as select d.id, upper(d.hidden) as loud from directory d;
create materialized view snapshot as select id, secret from people;
create function tell(integer) returns text language sql as 'select secret from people where id = $1';
create function everyone() returns setof people language sql as 'select * from people';
create function shout() returns integer language plpgsql as $$
begin
    raise notice 'it is %', (select secret from people where id = 1);
    return 1;
end $$;
create function cry() returns integer language plpgsql as $$
begin
    raise exception 'it is %', (select secret from people where id = 1) using errcode = 'P1234', hint = tell(2), table = tell(3);
end $$;
create view told as select tell(1) as it;
alter table people owner to portcullis;
alter table notes owner to portcullis;
alter view directory owner to portcullis;
alter view nested owner to portcullis;
alter view told owner to portcullis;
alter materialized view snapshot owner to portcullis;
alter sequence counter owner to portcullis;
alter type pair owner to portcullis;
alter domain phrase owner to portcullis;

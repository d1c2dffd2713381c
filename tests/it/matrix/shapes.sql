-- Queries that show protected columns of people.sql, one a line: each by another way. None of them filters by what is protected, so that nothing
-- that a client gets may depend on it.

-- Names
select secret from people
select * from people
table people
select p.* from people p
select p.secret from people p
select people.secret from people
select public.people.secret from public.people
select shop.public.people.secret from shop.public.people
select "secret" from "people"
select U&"\0073ecret" from people
select secret as name from people
select name as secret, secret as name from people
select secret as id, pin as id, secret as id from people
select q.c from people as q(a, b, c)
select c from (people p natural join (values (1), (2)) v(id)) as j(a, b, c)
select secret(people) from people
select secret from only people
select secret from people tablesample system (100)
select * from people limit 2 offset 1
select id, secret from people order by id desc
select distinct secret from people
select distinct on (id) secret from people
select pin, big, ratio, amount, born, seen, uid, doc, tags, raw, said, duo from people

-- Rows as values
select p from people p
select people from people
select (p).secret from people p
select (p).* from people p
select (people).pin from people
select row(secret, pin) from people
select row(p.*) from people p
select p::text from people p
select array[p]::text from people p
select array_agg(p)::text from people p
select (array_agg(p))[1] from people p
select row_to_json(p) from people p
select to_json(p) from people p
select to_jsonb(p) - 'id' from people p
select json_agg(p) from people p
select jsonb_agg(p.*) from people p
select (to_jsonb(p) ->> 'secret') from people p
select key, value from people p, jsonb_each_text(to_jsonb(p))
select (jsonb_populate_record(null::people, to_jsonb(p))).secret from people p
select s.secret from people p, json_to_record(to_json(p)) as s(secret text)
select (x.p).secret from (select p from people p) x
select (d.sub).secret from (select c as sub from people c) d
select (duo).one, (duo).two from people
select (row(duo)).f1 from people
select record_out(p) from people p
select hash_record(p) from people p
select concat(p) from people p
select quote_literal(p) from people p
select max(p::text) from people p
select x from (select secret, pin from people) x
select json_build_object('a', secret, 'b', pin) from people
select json_object_agg(id, secret) from people
select jsonb_build_array(secret, tags, doc) from people
select xmlelement(name x, secret)::text from people
select xmlforest(secret, pin)::text from people
select xmlagg(xmlelement(name x, xmlattributes(secret as y)))::text from people
select x.y from people p, xmltable('/a' passing xmlelement(name a, p.secret) columns y text path '.') x

-- Expressions
select secret || '' from people
select 'x' || secret || pin from people
select upper(secret), lower(secret), initcap(secret), reverse(secret) from people
select substr(secret, 1, 3), left(secret, 2), right(secret, 2), split_part(secret, 'x', 1) from people
select overlay(secret placing 'z' from 1 for 1), translate(secret, 'v', 'w'), replace(secret, '1', '2') from people
select ascii(secret), length(secret), octet_length(secret), bit_length(secret) from people
select md5(secret), sha256(secret::bytea), hashtext(secret), crc from (select secret, hashtextextended(secret, 1) as crc from people) s
select encode(convert_to(secret, 'utf8'), 'hex'), encode(raw, 'base64'), get_byte(raw, 1) from people
select regexp_replace(secret, 'x', 'y'), regexp_matches(secret, '.(.)') from people
select regexp_split_to_table(secret, 'w') from people
select string_to_table(secret, 'w') from people
select format('%s', secret), concat(name, secret), concat_ws('-', secret, code), quote_ident(secret) from people
select pin + 1, -pin, pin * 2.5, to_hex(pin), pin % 10, pin & 255, pin::bit(32), abs(pin), big - pin, ratio / 2, round(amount) from people
select born + 1, age(born, '2000-01-01'), extract(year from born), to_char(born, 'YYYY'), date_trunc('month', seen), seen at time zone 'utc' from people
select secret::varchar, secret::char(3), secret::name, secret::bytea, secret::phrase, secret::"char", secret::varchar(2) from people
select pin::text, pin::bigint, pin::float8, pin::numeric, pin::money, pin::oid, born::text, uid::text, doc::text, tags::text, raw::text from people
select cast(secret as text) from people
select secret collate "C" from people
select case when true then secret end, case id when 1 then pin else pin end from people
select coalesce(null, secret), nullif(secret, ''), greatest(secret, ''), least(pin, 2000000000) from people
select tags[1], tags[1:1], array_to_string(tags, ','), array_length(string_to_array(tags[1], null), 1), tags || secret from people
select unnest(tags) from people
select unnest(array[secret, code]) from people
select array[secret, code] from people
select doc -> 'k', doc ->> 'k', doc #>> '{k}', jsonb_path_query(doc, '$.k'), jsonb_pretty(doc) from people
select jsonb_object_keys(doc) from people
select to_tsvector('simple', secret)::text, ts_headline(secret, to_tsquery('x')) from people
select int4range(0, pin)::text, point(pin, 1)::text, inet '10.0.0.0' + (pin % 1000) from people
select (select secret from people where id = p.id) from people p
select array(select secret from people order by id)
select (select string_agg(secret, ',') from people), (select max(pin) from people)
select exists (select 1 from people) or false, (select pin from people limit 1)

-- Aggregates and windows
select string_agg(secret, ',' order by id) from people
select array_agg(secret order by id) from people
select min(secret), max(secret), sum(pin), avg(pin), stddev(big), bit_xor(pin), min(born), max(amount) from people
select count(*), max(secret) filter (where id > 1) from people group by id
select secret from people group by secret
select secret, count(*) from people group by rollup (secret)
select mode() within group (order by secret), percentile_disc(0.5) within group (order by pin) from people
select first_value(secret) over (order by id), lag(pin) over (order by id), nth_value(secret, 2) over (), sum(pin) over (partition by name) from people
select last_value(p) over (order by id rows between unbounded preceding and unbounded following) from people p

-- Other places in a query
select s.x from (select secret as x from people) s
select s.* from (select * from (select * from people) a) s
with q as (select secret from people) select * from q
with q as materialized (select secret as name from people) select name from q
with q(a) as (select secret from people), r(b) as (select a from q) select b from r
with recursive r(n, x) as (select 1, secret from people where id = 1 union all select n + 1, x || n from r where n < 3) select x from r
with recursive r(n, x) as (select 1, null::text union all select n + 1, p.secret from r join people p on p.id = n where n < 3) select x from r
with people as (select id, secret as s from public.people) select s from people
select l.x from people p, lateral (select p.secret as x) l
select l.x from people p cross join lateral unnest(p.tags) l(x)
select l from people p, lateral regexp_split_to_table(p.secret, 'w') l
select secret from people union select name from people
select name from people union all select secret from people
select secret from people except select 'nobody'
select secret from people intersect select secret from people
values ((select secret from people where id = 1)), ('x')
values (1, (select pin from people where id = 1)), ((select pin from people where id = 2), 2)
select column2 from (values (1, (select secret from people where id = 1)), (2, 'b')) v
select secret from people join notes using (id)
select secret from people natural join notes
select n.body, p.secret from notes n left join people p on p.id = n.person
select a.secret from people a full join people b using (id)
select (select x from (select p.secret as x) y) from people p
select x from rows from (unnest((select tags from people where id = 1))) as t(x)
select x from unnest((select array_agg(secret) from people)) as t(x)
select x.secret from unnest(array(select p from people p)) x
select g, secret from people, generate_series(1, 2) g
select hidden from directory
select next, hidden as name from directory
select d from directory d
select to_json(d) from directory d
select loud from nested
select secret from snapshot
select s from snapshot s
select everyone()
select (everyone()).secret
select e.secret from everyone() e
select tell(id) from people
select upper(tell(1))
select it from told
select t from told t
select query_to_xml('select secret from people', true, false, '')::text
select table_to_xml('people', true, false, '')::text
select schema_to_xml('public', true, false, '')::text
select histogram_bounds::text, most_common_vals::text from pg_stats where tablename = 'people'
select s.histogram_bounds::text from pg_catalog.pg_stats as s where s.tablename = 'people'
select secret from people for update
select secret from people for key share of people

-- What writing returns
insert into people (id, name, secret) select id + 100, name, secret || '!' from people returning secret
insert into people (id, name, code) select id + 100, secret, code from people returning name
insert into people (id, name) values (1, 'x') on conflict (id) do update set name = people.secret returning name
insert into people (id, name) values (1, 'x') on conflict (id) do update set name = 'y' returning people.*
insert into notes select id + 100, id, secret from people returning body
insert into notes select id + 100, id, secret from people returning *
update people set name = name returning secret
update people set name = secret returning name
update people p set name = 'x' from people q where q.id = p.id returning q.secret
update notes n set body = p.secret from people p where p.id = n.id returning n.body
update notes n set body = p.secret from people p where p.id = n.id returning n
delete from people returning secret
delete from people where id = 1 returning people
delete from notes n using people p where p.id = n.id returning p.secret
with x as (update people set name = name returning secret) select secret from x
with x as (delete from people returning *) select upper(x.secret) from x
with x as (insert into notes select id + 100, id, secret from people returning body) select body from x

-- The server's words
select secret::integer from people
select secret::date from people
select secret::uuid from people
select secret::json from people
select secret::regclass from people
select secret::inet from people
select (secret || name)::numeric from people
select tags::integer[] from people
select to_tsquery('simple', '& ' || secret) from people
select to_timestamp(secret, 'YYYY') from people
select xmlparse(document secret) from people
select ('{' || secret)::text[] from people
select shout()
select cry()
select shout(), id from people
select query_to_xml(secret, true, false, '') from people
update people set name = null where id = 1
insert into people (id, name, secret) select id + 100, name, secret from people
update people set name = repeat('x', 200) where id = 1
insert into people (id, name, secret, duo, tags, doc) select 100, null, secret, duo, tags, doc from people

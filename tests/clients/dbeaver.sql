-- What DBeaver asks when it connects, opens a schema and a table: its questions to the catalogue in their shape, with what it binds
-- written out. It goes over pgjdbc, whose own start-up PgJdbc.java has.

set extra_float_digits = 3;
set application_name = 'DBeaver 25.2 - Main <shop>';
set session characteristics as transaction read write;

-- Who and where.
select current_database(), current_schema(), session_user;
show search_path;
show server_version_num;
select version() like 'PostgreSQL%';
select name, setting from pg_catalog.pg_settings where name = 'standard_conforming_strings';
select * from pg_catalog.pg_enum where 1 <> 1 limit 1;
select reltype from pg_catalog.pg_class where 1 <> 1 limit 1;
select count(*) > 0 from pg_catalog.pg_get_keywords() k where k.word <> all ('{select,from,where}'::text[]);
select string_agg(k.word, ',') from pg_catalog.pg_get_keywords() k where k.word <> all ('{select,from,where}'::text[]);

-- The database and what belongs to the server.
select db.oid, db.* from pg_catalog.pg_database db where db.datallowconn and not db.datistemplate or db.datname = 'shop' order by db.datname;
select r.oid, r.*, pg_catalog.shobj_description(r.oid, 'pg_authid') as description from pg_catalog.pg_roles r order by r.rolname;
select t.oid, t.*, pg_catalog.pg_tablespace_location(t.oid) as loc from pg_catalog.pg_tablespace t order by t.oid;
select c.contoencoding as encid, pg_catalog.pg_encoding_to_char(c.contoencoding) as encname from pg_catalog.pg_conversion c group by c.contoencoding order by 2;
select e.oid, cfg.tbls, n.nspname as schema_name, e.* from pg_catalog.pg_extension e
    join pg_catalog.pg_namespace n on n.oid = e.extnamespace
    left join (select x.oid, string_agg(ns.nspname || '.' || cl.relname, ',') as tbls from pg_catalog.pg_extension x
        join pg_catalog.pg_class cl on cl.oid = any (x.extconfig) join pg_catalog.pg_namespace ns on ns.oid = cl.relnamespace
        group by x.oid) cfg on cfg.oid = e.oid
    order by e.oid;
select l.oid, l.* from pg_catalog.pg_language l order by l.oid;
select am.oid, am.* from pg_catalog.pg_am am order by am.oid;
select c.oid, c.* from pg_catalog.pg_collation c where c.collname in ('default', 'C') order by c.oid;
select pg_catalog.pg_size_pretty(0::bigint), pg_catalog.pg_database_size('shop') > 0;

-- Schemas, and the types of all of them.
select n.oid, n.*, d.description from pg_catalog.pg_namespace n
    left outer join pg_catalog.pg_description d on d.objoid = n.oid and d.objsubid = 0 and d.classoid = 'pg_namespace'::regclass
    order by n.nspname;
select t.oid, t.*, c.relkind, pg_catalog.format_type(nullif(t.typbasetype, 0), t.typtypmod) as base_type_name, d.description
    from pg_catalog.pg_type t
    left outer join pg_catalog.pg_type et on et.oid = t.typelem
    left outer join pg_catalog.pg_class c on c.oid = t.typrelid
    left outer join pg_catalog.pg_description d on t.oid = d.objoid
    where t.typname is not null and (c.relkind is null or c.relkind = 'c') and (et.typcategory is null or et.typcategory <> 'C')
    order by t.oid;

-- What is in the schema.
select c.oid, c.*, d.description, pg_catalog.pg_get_expr(c.relpartbound, c.oid) as partition_expr,
    pg_catalog.pg_get_partkeydef(c.oid) as partition_key
    from pg_catalog.pg_class c
    left outer join pg_catalog.pg_description d on d.objoid = c.oid and d.objsubid = 0 and d.classoid = 'pg_class'::regclass
    where c.relnamespace = 'public'::regnamespace and c.relkind not in ('i', 'I', 'c')
    order by c.oid;
select c.relname, a.*, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) as def_value, dsc.description, dep.objid
    from pg_catalog.pg_attribute a
    inner join pg_catalog.pg_class c on a.attrelid = c.oid
    left outer join pg_catalog.pg_attrdef ad on a.attrelid = ad.adrelid and a.attnum = ad.adnum
    left outer join pg_catalog.pg_description dsc on c.oid = dsc.objoid and a.attnum = dsc.objsubid
    left outer join pg_catalog.pg_depend dep on dep.refobjid = a.attrelid and dep.deptype = 'i' and dep.refobjsubid = a.attnum
        and dep.classid = dep.refclassid
    where not a.attisdropped and c.relkind not in ('i', 'I', 'c') and c.oid = 'public.customers'::regclass
    order by a.attnum;
select c.oid, c.*, t.relname as tabrelname, rt.relnamespace as refnamespace, d.description,
    case when c.contype = 'c' then pg_catalog.pg_get_constraintdef(c.oid) else null end as consrc_copy
    from pg_catalog.pg_constraint c
    inner join pg_catalog.pg_class t on t.oid = c.conrelid
    left outer join pg_catalog.pg_class rt on rt.oid = c.confrelid
    left outer join pg_catalog.pg_description d on d.objoid = c.oid and d.objsubid = 0 and d.classoid = 'pg_constraint'::regclass
    where t.relnamespace = 'public'::regnamespace
    order by c.oid;
select i.*, i.indkey as keys, c.relname, c.relnamespace, c.relam, c.reltablespace, tc.relname as tabrelname, dsc.description,
    pg_catalog.pg_get_expr(i.indpred, i.indrelid) as pred_expr, pg_catalog.pg_get_expr(i.indexprs, i.indrelid, true) as expr,
    pg_catalog.pg_relation_size(i.indexrelid) as index_rel_size, pg_catalog.pg_stat_get_numscans(i.indexrelid) >= 0 as scanned
    from pg_catalog.pg_index i
    inner join pg_catalog.pg_class c on c.oid = i.indexrelid
    inner join pg_catalog.pg_class tc on tc.oid = i.indrelid
    left outer join pg_catalog.pg_description dsc on i.indexrelid = dsc.objoid
    where tc.relnamespace = 'public'::regnamespace
    order by tabrelname, c.relname;
select p.oid, p.*, pg_catalog.pg_get_expr(p.proargdefaults, 0) as arg_defaults, l.lanname, d.description
    from pg_catalog.pg_proc p
    left outer join pg_catalog.pg_language l on l.oid = p.prolang
    left outer join pg_catalog.pg_description d on d.objoid = p.oid and d.objsubid = 0
    where p.pronamespace = 'public'::regnamespace
    order by p.proname;
select x.oid, x.*, p.pronamespace as func_schema_id, d.description
    from pg_catalog.pg_trigger x
    left outer join pg_catalog.pg_proc p on p.oid = x.tgfoid
    left outer join pg_catalog.pg_description d on d.objoid = x.oid and d.objsubid = 0
    where x.tgrelid = 'public.orders'::regclass and not x.tgisinternal;
select seq.* from pg_catalog.pg_sequences seq where seq.schemaname = 'public';
select rel.relname, pg_catalog.pg_relation_size(rel.oid) as rel_size, pg_catalog.pg_total_relation_size(rel.oid) as total_rel_size
    from pg_catalog.pg_class rel where rel.oid in ('public.customers'::regclass, 'public.orders'::regclass) order by 1;
select i.* from pg_catalog.pg_inherits i, pg_catalog.pg_class c where i.inhparent = c.oid and c.relname = 'customers' order by i.inhseqno;
select r.oid, r.ev_class, r.rulename, pg_catalog.pg_get_ruledef(r.oid) as definition from pg_catalog.pg_rewrite r
    where r.ev_class = 'public.contacts'::regclass;
select pg_catalog.pg_get_viewdef('public.contacts'::regclass, true) as definition;
select * from information_schema.table_privileges where table_schema = 'public' and table_name = 'customers' order by privilege_type, grantee;
select a.attname, a.attacl from pg_catalog.pg_attribute a where a.attrelid = 'public.customers'::regclass and a.attacl is not null;
select dep.deptype, dep.classid, dep.objid, cl.relkind, attr.attname from pg_catalog.pg_depend dep
    left join pg_catalog.pg_class cl on dep.objid = cl.oid
    left join pg_catalog.pg_attribute attr on dep.objid = attr.attrelid and dep.objsubid = attr.attnum
    where dep.refobjid = 'public.customers'::regclass
    order by dep.deptype, dep.classid, dep.objid, dep.objsubid;

-- The editor of data: a page, its size, its plan.
select id, name, note is null from public.customers order by id limit 200;
select count(*) from public.orders;
explain (format xml, costs off) select * from public.orders where id = 1;

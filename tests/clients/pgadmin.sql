-- What pgAdmin 4 asks when it connects, opens a database and a table, and shows its dashboard: its questions to the catalogue in their
-- shape. Several commands of one line go to the server as one, as pgAdmin sends them.

set DateStyle=ISO\; set client_min_messages=notice\; select set_config('bytea_output', 'hex', false) from pg_catalog.pg_show_all_settings() where name = 'bytea_output'\; set client_encoding='utf-8';
select version() like 'PostgreSQL%';
select db.oid as did, db.datname, db.datallowconn, pg_catalog.pg_encoding_to_char(db.encoding) as serverencoding,
    pg_catalog.has_database_privilege(db.oid, 'CREATE') as cancreate, db.datistemplate
    from pg_catalog.pg_database db where db.datname = current_database();
select gss_authenticated, encrypted from pg_catalog.pg_stat_gssapi where pid = pg_catalog.pg_backend_pid();
select roles.oid as id, roles.rolname as name, roles.rolsuper as is_superuser,
    case when roles.rolsuper then true else roles.rolcreaterole end as can_create_role,
    case when roles.rolsuper then true else roles.rolcreatedb end as can_create_db,
    case when 'pg_signal_backend' = any (array(with recursive cte as (
        select pg_roles.oid, pg_roles.rolname from pg_catalog.pg_roles where pg_roles.oid = roles.oid
        union all
        select m.roleid, pgr.rolname from cte cte_1
            join pg_catalog.pg_auth_members m on m.member = cte_1.oid join pg_catalog.pg_roles pgr on pgr.oid = m.roleid)
        select rolname from cte)) then true else false end as can_signal_backend
    from pg_catalog.pg_roles as roles where rolname = current_user;
select pg_catalog.pg_is_in_recovery();
select case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_is_wal_replay_paused() else false end as isreplaypaused;
select case usesuper when true then pg_catalog.pg_is_in_recovery() else false end as inrecovery from pg_catalog.pg_user where usename = current_user;

-- The tree.
select db.oid as did, db.datname as name, ta.spcname, db.datallowconn, db.datistemplate as is_template,
    pg_catalog.has_database_privilege(db.oid, 'CREATE') as cancreate, db.datdba as owner, descr.description
    from pg_catalog.pg_database db
    left outer join pg_catalog.pg_tablespace ta on db.dattablespace = ta.oid
    left outer join pg_catalog.pg_shdescription descr on db.oid = descr.objoid and descr.classoid = 'pg_database'::regclass
    where db.oid > 16383::oid or db.datname in ('postgres', 'edb')
    order by db.datname;
select nsp.oid, nsp.nspname as name, pg_catalog.has_schema_privilege(nsp.oid, 'CREATE') as can_create,
    pg_catalog.has_schema_privilege(nsp.oid, 'USAGE') as has_usage, descr.description
    from pg_catalog.pg_namespace nsp
    left outer join pg_catalog.pg_description descr on descr.objoid = nsp.oid and descr.classoid = 'pg_namespace'::regclass
    where nsp.nspname not like E'pg\\_%' and not (nsp.nspname = 'information_schema' and exists (
        select 1 from pg_catalog.pg_class where relname = 'tables' and relnamespace = nsp.oid limit 1))
    order by nsp.nspname;
select rel.oid, rel.relname as name, rel.relkind,
    (select count(*) from pg_catalog.pg_trigger where tgrelid = rel.oid and tgisinternal = false) as triggercount,
    (select count(*) from pg_catalog.pg_inherits where inhrelid = rel.oid limit 1) as is_inherits,
    rel.relpersistence, des.description
    from pg_catalog.pg_class rel
    left outer join pg_catalog.pg_description des on des.objoid = rel.oid and des.objsubid = 0 and des.classoid = 'pg_class'::regclass
    where rel.relkind in ('r', 's', 't', 'p') and rel.relnamespace = 'public'::regnamespace and not rel.relispartition
    order by rel.relname;
select c.oid, c.relname as name, des.description from pg_catalog.pg_class c
    left outer join pg_catalog.pg_description des on des.objoid = c.oid and des.objsubid = 0
    where c.relkind = 'v' and c.relnamespace = 'public'::regnamespace order by c.relname;

-- A table's properties and the SQL that it is made with.
select distinct on (att.attnum) att.attname as name, att.atttypid, att.attlen, att.attnum, att.attndims, att.atttypmod, att.attacl,
    att.attnotnull, att.attstattarget, att.attstorage, att.attidentity, att.attgenerated,
    pg_catalog.pg_get_expr(def.adbin, def.adrelid) as defval, pg_catalog.format_type(ty.oid, null) as typname,
    pg_catalog.format_type(ty.oid, att.atttypmod) as displaytypname, tn.nspname as typnspname, et.typname as elemtypname,
    cl.relname, na.nspname, des.description, coll.collname, nspc.nspname as collnspname,
    exists (select 1 from pg_catalog.pg_type where typnamespace = ty.typnamespace and typname = ty.typname and oid <> ty.oid) as isdup,
    indkey is not null and att.attnum = any (indkey) as is_pk,
    array(select provider || '=' || label from pg_catalog.pg_seclabels sl1 where sl1.objoid = att.attrelid and sl1.objsubid = att.attnum) as seclabels
    from pg_catalog.pg_attribute att
    join pg_catalog.pg_type ty on ty.oid = att.atttypid
    join pg_catalog.pg_namespace tn on tn.oid = ty.typnamespace
    join pg_catalog.pg_class cl on cl.oid = att.attrelid
    join pg_catalog.pg_namespace na on na.oid = cl.relnamespace
    left outer join pg_catalog.pg_type et on et.oid = ty.typelem
    left outer join pg_catalog.pg_attrdef def on def.adrelid = att.attrelid and def.adnum = att.attnum
    left outer join pg_catalog.pg_description des on des.objoid = att.attrelid and des.objsubid = att.attnum and des.classoid = 'pg_class'::regclass
    left outer join pg_catalog.pg_index pi on pi.indrelid = att.attrelid and indisprimary
    left outer join pg_catalog.pg_collation coll on att.attcollation = coll.oid
    left outer join pg_catalog.pg_namespace nspc on coll.collnamespace = nspc.oid
    where att.attrelid = 'public.customers'::regclass and att.attnum > 0 and att.attisdropped is false
    order by att.attnum;
select rel.oid, rel.relname as name, rel.reltuples >= -1 as estimated, rel.relacl, pg_catalog.pg_get_userbyid(rel.relowner) as relowner,
    substring(array_to_string(rel.reloptions, ',') from 'fillfactor=([0-9]*)') as fillfactor,
    coalesce(con.conname, '') as conname, con.conkey,
    exists (select 1 from pg_catalog.pg_trigger t where t.tgrelid = rel.oid) as isrepl,
    array_to_string((select array_agg(distinct u.provider) from pg_catalog.pg_seclabels u where u.objoid = rel.oid), ',') as providers
    from pg_catalog.pg_class rel left outer join pg_catalog.pg_constraint con on con.conrelid = rel.oid and con.contype = 'p'
    where rel.oid = 'public.orders'::regclass;
select 'relacl' as deftype, coalesce(gt.rolname, 'PUBLIC') as grantee, g.rolname as grantor, array_agg(d.privilege_type order by 1) as privileges,
    array_agg(d.is_grantable) as grantable
    from (select rel.relacl, (pg_catalog.aclexplode(rel.relacl)).* from pg_catalog.pg_class rel where rel.oid = 'public.customers'::regclass) d
    left join pg_catalog.pg_roles g on d.grantor = g.oid left join pg_catalog.pg_roles gt on d.grantee = gt.oid
    group by g.rolname, gt.rolname;
select ct.oid, ct.conname as name, ct.condeferrable, ct.confupdtype, ct.confdeltype, ct.conkey, ct.confkey, fl.relname as fktab, cr.relname as reftab,
    pg_catalog.pg_get_constraintdef(ct.oid) as definition, description as comment
    from pg_catalog.pg_constraint ct
    join pg_catalog.pg_class fl on fl.oid = ct.conrelid
    join pg_catalog.pg_class cr on cr.oid = ct.confrelid
    left outer join pg_catalog.pg_description des on des.objoid = ct.oid and des.classoid = 'pg_constraint'::regclass
    where ct.contype = 'f' and ct.conrelid = 'public.orders'::regclass order by ct.conname;
select i.indexrelid::regclass, pg_catalog.pg_get_indexdef(i.indexrelid), pg_catalog.pg_get_indexdef(i.indexrelid, 1, true), op.opcname
    from pg_catalog.pg_index i left join pg_catalog.pg_opclass op on op.oid = i.indclass[0]
    where i.indrelid = 'public.orders'::regclass;
select pg_catalog.pg_get_viewdef('public.contacts'::regclass, true);
select st.relid::regclass, st.n_dead_tup >= 0 as dead, pg_catalog.pg_size_pretty(pg_catalog.pg_relation_size(st.relid)) as size
    from pg_catalog.pg_stat_all_tables st where st.relid in ('public.customers'::regclass, 'public.orders'::regclass) order by 1;

-- The dashboard: numbers that change, so that only their presence is shown.
/*pga4dash*/
select count(*) = 4 from (
    select 'session_stats' as chart_name, pg_catalog.row_to_json(t) as chart_data from (select
        (select count(*) from pg_catalog.pg_stat_activity where datname = 'shop') as "Total",
        (select count(*) from pg_catalog.pg_stat_activity where state = 'active' and datname = 'shop') as "Active") t
    union all
    select 'tps_stats', pg_catalog.row_to_json(t) from (select
        (select sum(xact_commit) + sum(xact_rollback) from pg_catalog.pg_stat_database where datname = 'shop') as "Transactions") t
    union all
    select 'ti_stats', pg_catalog.row_to_json(t) from (select
        (select sum(tup_inserted) from pg_catalog.pg_stat_database where datname = 'shop') as "Inserts") t
    union all
    select 'bio_stats', pg_catalog.row_to_json(t) from (select
        (select sum(blks_hit) from pg_catalog.pg_stat_database where datname = 'shop') as "Hits") t) charts;
/*pga4dash*/
select pid is not null, datname, usename, client_port is not null, backend_start is not null, state, wait_event_type is null,
    pg_catalog.pg_blocking_pids(pid) as blocking_pids, backend_type
    from pg_catalog.pg_stat_activity where pid = pg_catalog.pg_backend_pid();
/*pga4dash*/
select count(*) > 0 from pg_catalog.pg_locks l left outer join pg_catalog.pg_class c on l.relation = c.oid
    where l.pid = pg_catalog.pg_backend_pid();
select name, setting, unit from pg_catalog.pg_settings where name in ('block_size', 'max_connections') order by name;
select gid from pg_catalog.pg_prepared_xacts;

-- The query tool: a transaction, a page of rows, their columns and types, the plan.
begin;
select id, name from public.customers order by id limit 1000;
select oid, pg_catalog.format_type(oid, null) as typname from pg_catalog.pg_type where oid in (23, 25, 1043) order by oid;
select at.attname, ty.typname, at.attnum from pg_catalog.pg_attribute at left join pg_catalog.pg_type ty on ty.oid = at.atttypid
    where at.attrelid = 'public.customers'::regclass and at.attnum = any (
        (select con.conkey from pg_catalog.pg_class rel left outer join pg_catalog.pg_constraint con on con.conrelid = rel.oid
            and con.contype = 'p' where rel.relkind in ('r', 's', 't', 'p') and rel.oid = 'public.customers'::regclass)::oid[]);
explain (format json, analyze false, verbose false, costs false) select * from public.orders where id = 1;
commit;

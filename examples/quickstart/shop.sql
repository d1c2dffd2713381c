-- Sample data: invented people. The card numbers are the payment industry's test numbers.
create table customers (
    id integer primary key,
    name text not null,
    email text not null,
    card varchar(19),
    ssn char(11),
    born date,
    note text
);

insert into customers values
    (1, 'Ada Lovelace', 'ada@example.com', '4111 1111 1111 1111', '123-45-6789', '1985-12-10', 'prefers mail to ada.home@example.org'),
    (2, 'Grace Hopper', 'grace@example.com', '5555 5555 5555 4444', '234-56-7890', '1976-12-09', null),
    (3, 'Alan Turing', 'alan@example.net', '3782 822463 10005', '345-67-8901', '1992-06-23', 'paid with 4111 1111 1111 1111'),
    (4, 'Mary Shelley', 'mary@example.org', null, null, '1997-08-30', 'quiet');

create table orders (
    id integer primary key,
    customer integer not null references customers,
    product text not null,
    cents integer not null,
    placed timestamptz not null default '2026-01-15 12:00:00+00'
);

insert into orders (id, customer, product, cents)
    select n, 1 + n % 4, (array['lamp', 'chair', 'kettle', 'clock'])[1 + n % 4], 500 + 100 * n from generate_series(1, 40) n;

create view contacts as select id, name as who, email as address from customers;

alter table customers owner to portcullis;
alter table orders owner to portcullis;
alter view contacts owner to portcullis;

use std::sync::Arc;

use portcullis_verdict::{self as verdict, Command, Facts, Phase, ResultSet, Statement};
use wasmtime::component::Resource;
use wasmtime::{Result, bail, format_err};

use super::{Host, Question, wit};
use wit::facts;

impl Host {
    fn session(&self) -> Result<&verdict::Session> {
        self.session.as_deref().ok_or_else(|| format_err!("there is no session to ask about"))
    }

    fn command(&self) -> Result<&(Arc<Command>, Arc<Statement>)> {
        self.question.command.as_ref().ok_or_else(|| format_err!("there is no command to ask about"))
    }

    fn result(&self) -> Result<&ResultSet> {
        self.question.result.as_deref().ok_or_else(|| format_err!("there is no result to ask about"))
    }

    /// The facts of the command; `None` if it could not be read, which is remembered.
    fn facts(&mut self) -> Result<Option<&Facts>> {
        let Question { command: Some((_, statement)), unread, .. } = &mut self.question else {
            bail!("there is no command to ask about");
        };
        if let Err(why) = &statement.facts.sql {
            unread.get_or_insert_with(|| why.clone());
            return Ok(None);
        }
        Ok(Some(&statement.facts))
    }

    fn statement(&self, handle: &Resource<facts::SqlStatement>) -> Result<&verdict::SqlStatement> {
        let index = handle.rep().wrapping_sub(self.first_statement) as usize;
        let statements = self.command()?.1.facts.sql.as_deref().unwrap_or_default();
        statements.get(index).ok_or_else(|| format_err!("a statement of an earlier command was used"))
    }
}

impl facts::Host for Host {}

impl facts::HostSession for Host {
    fn id(&mut self, _: Resource<facts::Session>) -> Result<String> {
        Ok(self.session()?.id.as_ref().into())
    }

    fn protocol(&mut self, _: Resource<facts::Session>) -> Result<String> {
        Ok(self.session()?.protocol.into())
    }

    fn principal(&mut self, _: Resource<facts::Session>) -> Result<String> {
        Ok(self.session()?.principal.name.clone())
    }

    fn groups(&mut self, _: Resource<facts::Session>) -> Result<Vec<String>> {
        Ok(self.session()?.principal.groups.clone())
    }

    fn target(&mut self, _: Resource<facts::Session>) -> Result<String> {
        Ok(self.session()?.target.name.clone())
    }

    fn label(&mut self, _: Resource<facts::Session>, name: String) -> Result<Option<String>> {
        Ok(self.session()?.target.labels.get(&name).cloned())
    }

    fn client_address(&mut self, _: Resource<facts::Session>) -> Result<String> {
        Ok(self.session()?.client_address.ip().to_string())
    }

    fn credential(&mut self, _: Resource<facts::Session>) -> Result<String> {
        Ok(self.session()?.principal.credential.as_str().into())
    }

    fn reason(&mut self, _: Resource<facts::Session>) -> Result<Option<String>> {
        // That of the command, if the question is about one: the session's may have changed since its login.
        let of_command = self.command().ok().map(|(command, _)| command.reason.as_deref().map(str::to_owned));
        Ok(of_command.unwrap_or(self.session()?.reason.clone()))
    }

    fn drop(&mut self, _: Resource<facts::Session>) -> Result<()> {
        bail!("a session is only ever lent")
    }
}

impl facts::HostCommand for Host {
    fn kind(&mut self, _: Resource<facts::Command>) -> Result<String> {
        Ok(self.command()?.1.kind.as_str().into())
    }

    fn phase(&mut self, _: Resource<facts::Command>) -> Result<facts::Phase> {
        Ok(match self.command()?.0.phase {
            Phase::Prepare => facts::Phase::Prepare,
            Phase::Execute => facts::Phase::Execute,
        })
    }

    fn text(&mut self, _: Resource<facts::Command>, max_bytes: u32) -> Result<String> {
        self.apart = true;
        let text = &self.command()?.1.text;
        Ok(text[..text.floor_char_boundary(max_bytes as usize)].into())
    }

    fn fingerprint(&mut self, _: Resource<facts::Command>) -> Result<String> {
        Ok(self.facts()?.map_or_else(String::new, |facts| facts.fingerprint.clone()))
    }

    fn parsed(&mut self, _: Resource<facts::Command>) -> Result<bool> {
        Ok(self.command()?.1.facts.sql.is_ok())
    }

    fn sql(&mut self, _: Resource<facts::Command>) -> Result<Vec<Resource<facts::SqlStatement>>> {
        let count = self.facts()?.map_or(0, |facts| facts.sql.as_ref().map_or(0, Vec::len));
        let first = self.first_statement;
        Ok((0..count as u32).map(|i| Resource::new_own(first.wrapping_add(i))).collect())
    }

    fn parameters(&mut self, _: Resource<facts::Command>) -> Result<Vec<facts::Parameter>> {
        self.apart = true;
        let lent = |p: &verdict::Parameter| facts::Parameter {
            value: p.value.as_ref().map(|bytes| bytes.to_vec()),
            binary: p.binary,
        };
        Ok(self.command()?.0.parameters.iter().map(lent).collect())
    }

    fn conditions(&mut self, _: Resource<facts::Command>) -> Result<Vec<facts::Column>> {
        self.apart = true;
        if self.facts()?.is_none() {
            return Ok(Vec::new());
        }
        let (command, statement) = self.command()?;
        let conditions = match &command.origins {
            Some(origins) => origins.conditions(statement),
            None => statement.conditions(),
        };
        Ok(conditions.iter().map(column).collect())
    }

    fn drop(&mut self, _: Resource<facts::Command>) -> Result<()> {
        bail!("a command is only ever lent")
    }
}

impl facts::HostSqlStatement for Host {
    fn dialect(&mut self, s: Resource<facts::SqlStatement>) -> Result<String> {
        Ok(self.statement(&s)?.dialect.to_string())
    }

    fn verb(&mut self, s: Resource<facts::SqlStatement>) -> Result<String> {
        Ok(self.statement(&s)?.verb.clone())
    }

    fn effects(&mut self, s: Resource<facts::SqlStatement>) -> Result<facts::Effects> {
        Ok(effects(self.statement(&s)?.effects))
    }

    fn relations(&mut self, s: Resource<facts::SqlStatement>) -> Result<Vec<facts::Relation>> {
        let told = |r: &verdict::Relation| facts::Relation {
            schema: r.schema.clone(),
            name: r.name.clone(),
            effects: effects(r.effects),
        };
        Ok(self.statement(&s)?.relations.iter().map(told).collect())
    }

    fn columns_read(&mut self, s: Resource<facts::SqlStatement>) -> Result<Vec<facts::ColumnRef>> {
        Ok(self.statement(&s)?.columns_read.iter().map(column_ref).collect())
    }

    fn functions(&mut self, s: Resource<facts::SqlStatement>) -> Result<Vec<String>> {
        Ok(self.statement(&s)?.functions.clone())
    }

    fn has_where(&mut self, s: Resource<facts::SqlStatement>) -> Result<bool> {
        Ok(self.statement(&s)?.has_where)
    }

    fn drop(&mut self, _: Resource<facts::SqlStatement>) -> Result<()> {
        // A handle is a number: wasmtime counts those that a guest holds, and the host keeps nothing for them.
        Ok(())
    }
}

impl facts::HostResultSet for Host {
    fn id(&mut self, _: Resource<facts::ResultSet>) -> Result<u64> {
        self.apart = true;
        Ok(self.result()?.id)
    }

    fn columns(&mut self, _: Resource<facts::ResultSet>) -> Result<Vec<facts::Column>> {
        Ok(self.result()?.columns.iter().map(column).collect())
    }

    fn drop(&mut self, _: Resource<facts::ResultSet>) -> Result<()> {
        bail!("a result is only ever lent")
    }
}

fn column(c: &verdict::Column) -> facts::Column {
    facts::Column {
        name: c.name.clone(),
        type_name: c.type_name.clone(),
        computed: c.computed,
        origins: c.origins.iter().map(column_ref).collect(),
        labels: c.labels.clone(),
    }
}

fn column_ref(c: &verdict::ColumnRef) -> facts::ColumnRef {
    facts::ColumnRef { schema: c.schema.clone(), relation: c.relation.clone(), name: c.name.clone() }
}

fn effects(effects: verdict::Effects) -> facts::Effects {
    use facts::Effects as Wit;
    use verdict::Effects;
    let pairs = [
        (Effects::READ, Wit::READ),
        (Effects::WRITE, Wit::WRITE),
        (Effects::DDL, Wit::DDL),
        (Effects::PRIVILEGE, Wit::PRIVILEGE),
        (Effects::SESSION_STATE, Wit::SESSION_STATE),
        (Effects::TRANSACTION, Wit::TRANSACTION),
        (Effects::COPY_IN, Wit::COPY_IN),
        (Effects::COPY_OUT, Wit::COPY_OUT),
        (Effects::SERVER_FILE, Wit::SERVER_FILE),
        (Effects::OPAQUE, Wit::OPAQUE),
    ];
    pairs.into_iter().filter(|(ours, _)| effects.contains(*ours)).fold(Wit::empty(), |all, (_, theirs)| all | theirs)
}

//! Destinations of the audit's stream.

mod collector;
mod file;
mod syslog;

use crate::follow::Consumer;
use crate::{Destination, Sink};

/// A consumer for it. Nothing is opened or connected before there is something to deliver.
pub(crate) fn open(sink: Sink) -> Box<dyn Consumer> {
    let format = sink.format;
    match sink.to {
        Destination::File(path) => Box::new(file::FileSink::new(path, format)),
        Destination::Syslog(address) => Box::new(syslog::SyslogSink::new(address, format)),
        Destination::Http { url, token, ca } => Box::new(collector::Collector::new(url, token, ca, format)),
    }
}

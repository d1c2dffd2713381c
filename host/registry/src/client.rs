//! The client of registries: OCI's distribution specification 1.1, as far as packages need it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use portcullis_package::Package;
use reqwest::{Method, StatusCode};
use semver::Version;
use serde::Deserialize;

use crate::artifact::{Artifact, COMPONENT_PART, CONFIG_PART, MAX_CONFIG, MAX_SBOM, Parts, Promise, SBOM_PART, verify};
use crate::digest::Digest;
use crate::error::{ArtifactError, Problem, RegistryError};
use crate::layout::Pulled;
use crate::metadata::{self, MAX_METADATA};
use crate::oci::{self, Descriptor, EMPTY, EMPTY_CONTENT, IMAGE_INDEX, IMAGE_MANIFEST, Index, MAX_MANIFEST, Manifest};
use crate::reference::Reference;
use crate::signature::{self, MAX_SIGNATURE, Signature};

mod auth;
mod credentials;
mod http;

pub use credentials::Credentials;
use http::{Answer, Call, Http};

/// What a manifest may be. Indexes are asked for too, so that they can be refused with words.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// Notes about a package that are not part of it.
const NOTES: &str = "application/vnd.portcullis.notes.v1";

/// The most pages of a list.
const MAX_PAGES: usize = 16;

/// How often the list of referrers is merged anew when somebody else changed it meanwhile.
const MERGES: usize = 5;

/// How registries are reached.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Who to be, by registry (`host` or `host:port`).
    pub credentials: BTreeMap<String, Credentials>,
    /// The directory of docker's `config.json`, which is asked for every other registry.
    pub docker: Option<PathBuf>,
    /// Registries, and hosts that they may redirect to, that are reached without TLS. Loopback addresses need no mention.
    pub plain_http: BTreeSet<String>,
    /// The certificates in PEM that registries are known by, instead of the system's. With them loopback is reached by TLS too.
    pub ca: Option<Vec<u8>>,
    /// How long a connection may take, and how long nothing may come.
    pub idle: Duration,
    /// How long one operation may take.
    pub total: Duration,
}

impl Default for RegistryOptions {
    /// docker's configuration, the system's certificates, 30 seconds without a byte, ten minutes for the whole.
    fn default() -> Self {
        Self {
            credentials: BTreeMap::new(),
            docker: credentials::docker_directory(),
            plain_http: BTreeSet::new(),
            ca: None,
            idle: Duration::from_secs(30),
            total: Duration::from_secs(600),
        }
    }
}

/// A client of registries.
#[derive(Debug)]
pub struct Registry {
    http: Http,
    total: Duration,
}

type Result<T> = std::result::Result<T, Problem>;

impl Registry {
    /// Makes a client.
    pub fn new(options: RegistryOptions) -> std::result::Result<Self, RegistryError> {
        let total = options.total;
        let http = Http::new(options).map_err(|problem| RegistryError { reference: "the client".into(), problem })?;
        Ok(Self { http, total })
    }

    /// The digest of the image manifest that a reference stands for.
    pub async fn resolve(&self, reference: &Reference) -> std::result::Result<Digest, RegistryError> {
        self.within(reference, async { Ok(self.image(reference, None).await?.0) }).await
    }

    /// Pulls a package with its signatures. With a pinned digest nothing else will do, whatever the tag has become.
    pub async fn pull(
        &self,
        reference: &Reference,
        pinned: Option<&Digest>,
    ) -> std::result::Result<Pulled, RegistryError> {
        self.within(reference, async {
            let (digest, manifest) = self.image(reference, pinned).await?;
            let promise = Promise::read(&digest, &manifest)?;
            let parts = Parts {
                config: self.blob(reference, CONFIG_PART, &promise.config, MAX_CONFIG).await?,
                component: self.blob(reference, COMPONENT_PART, &promise.component, Package::MAX_COMPONENT).await?,
                metadata: self.blob(reference, metadata::WHAT, &promise.metadata, MAX_METADATA).await?,
                sbom: self.blob(reference, SBOM_PART, &promise.sbom, MAX_SBOM).await?,
            };
            let artifact = Artifact::assemble(&digest, manifest, parts)?;
            check_name(reference, &artifact)?;
            let signatures = self.signatures(reference, &digest).await?;
            Ok(Pulled { artifact, signatures })
        })
        .await
    }

    /// Pushes a package under the reference's tag.
    pub async fn push(&self, reference: &Reference, artifact: &Artifact) -> std::result::Result<(), RegistryError> {
        self.within(reference, async {
            let tag = reference
                .tag()
                .ok_or_else(|| Problem::Invalid("has no tag to push to; add one, such as :1.2.0".into()))?;
            if let Some(other) = reference.digest().filter(|digest| *digest != artifact.digest()) {
                return Err(Problem::Invalid(format!(
                    "names the digest {other}, and the package has {}",
                    artifact.digest()
                )));
            }
            check_name(reference, artifact)?;
            for content in [artifact.config(), artifact.component()] {
                self.upload(reference, content).await?;
            }
            // The package is tagged when everything that belongs to it is there.
            self.put_manifest(reference, artifact.digest().as_str(), IMAGE_MANIFEST, artifact.manifest_bytes()).await?;
            for (manifest, content) in artifact.referrers() {
                self.upload(reference, &content).await?;
                self.refer(reference, &manifest).await?;
            }
            self.put_manifest(reference, tag, IMAGE_MANIFEST, artifact.manifest_bytes()).await.map(drop)
        })
        .await
    }

    /// Adds a signature to a package that is there.
    pub async fn push_signature(
        &self,
        reference: &Reference,
        digest: &Digest,
        signature: &Signature,
    ) -> std::result::Result<(), RegistryError> {
        self.within(reference, async {
            signature.check()?;
            let (_, subject) = self.image(reference, Some(digest)).await?;
            self.upload(reference, &Bytes::from(signature.bytes.clone())).await?;
            if signature.media_type == Signature::COSIGN {
                return self.add_cosign(reference, digest, signature.descriptor()).await;
            }
            self.refer(reference, &signature.referrer(Descriptor::of(IMAGE_MANIFEST, &subject))).await
        })
        .await
    }

    /// Adds notes to a package that is there, such as why it should no longer be used. They are not signed and change nothing
    /// of the package: they are for people.
    pub async fn annotate(
        &self,
        reference: &Reference,
        notes: BTreeMap<String, String>,
    ) -> std::result::Result<(), RegistryError> {
        self.within(reference, async {
            let (_, subject) = self.image(reference, None).await?;
            let empty = Descriptor::of(EMPTY, EMPTY_CONTENT);
            let mut manifest = Manifest::referrer(NOTES, Descriptor::of(IMAGE_MANIFEST, &subject), empty);
            manifest.annotations = notes;
            self.refer(reference, &manifest).await
        })
        .await
    }

    /// The tags of a repository, by name, without those that only keep signatures and the like.
    pub async fn tags(&self, reference: &Reference) -> std::result::Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Tags {
            tags: Option<Vec<String>>,
        }
        self.within(reference, async {
            let pages = self.pages(reference, "tags/list").await?.ok_or_else(|| absent("repository"))?;
            let mut all = BTreeSet::new();
            for page in pages {
                all.extend(oci::parse::<Tags>("the list of tags", &page)?.tags.unwrap_or_default());
            }
            Ok(all.into_iter().filter(|tag| !tag.starts_with("sha256-")).collect())
        })
        .await
    }

    /// Bounds the time of an operation, and puts the reference before what goes wrong.
    async fn within<T>(
        &self,
        reference: &Reference,
        work: impl Future<Output = Result<T>>,
    ) -> std::result::Result<T, RegistryError> {
        let late = |_| {
            let limit = self.total.as_secs_f32();
            Err(Problem::Unreachable(format!(
                "the registry was not done within {limit} s; try again, or raise the limit"
            )))
        };
        let done = tokio::time::timeout(self.total, work).await.unwrap_or_else(late);
        done.map_err(|problem| RegistryError { reference: reference.to_string(), problem })
    }

    /// The image manifest and its digest, which is the pinned one if there is one.
    async fn image(&self, reference: &Reference, pinned: Option<&Digest>) -> Result<(Digest, Bytes)> {
        let named = reference.digest();
        if let (Some(pinned), Some(named)) = (pinned, named)
            && pinned != named
        {
            return Err(Problem::Invalid(format!("names the digest {named}, and {pinned} is pinned; lock it anew")));
        }
        let wanted = pinned.or(named);
        let Some(name) = wanted.map(Digest::as_str).or(reference.tag()) else {
            return Err(Problem::Invalid("has neither a tag nor a digest; add one, such as :1.2.0".into()));
        };
        let found = self.manifest(reference, name).await?;
        let manifest = found.ok_or_else(|| absent(&format!("package `{name}`")))?;
        let digest = wanted.cloned().unwrap_or_else(|| Digest::of(&manifest));
        verify(&format!("the image manifest of {name}"), &digest, &manifest, MAX_MANIFEST)?;
        Manifest::read(&format!("the image manifest {digest}"), &manifest)?;
        Ok((digest, manifest))
    }

    /// A manifest by tag or digest, if it is there.
    async fn manifest(&self, reference: &Reference, name: &str) -> Result<Option<Bytes>> {
        let call = Call::new(Method::GET, format!("manifests/{name}")).accepts(MANIFESTS);
        let answer = self.http.call(reference, call).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.expect(StatusCode::OK).await?.body("the manifest", MAX_MANIFEST).await.map(Some)
    }

    async fn blob(&self, reference: &Reference, what: &str, digest: &Digest, limit: u64) -> Result<Bytes> {
        let answer = self.http.call(reference, Call::new(Method::GET, format!("blobs/{digest}"))).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Err(Problem::Absent(format!(
                "{what} ({digest}) is not in the registry, though the package names it; push it again, or copy the package \
                 with what refers to it (`oras cp -r`)"
            )));
        }
        let content = answer.expect(StatusCode::OK).await?.body(what, limit).await?;
        verify(what, digest, &content, limit)?;
        Ok(content)
    }

    async fn signatures(&self, reference: &Reference, subject: &Digest) -> Result<Vec<Signature>> {
        let mut layers = Vec::new();
        let found = self.referrers(reference, subject).await?;
        let ours = |found: &&Descriptor| found.artifact_type.as_deref() == Some(Signature::MINISIGN);
        let ours: Vec<_> = found.iter().filter(ours).collect();
        signature::check_count(ours.len())?;
        for found in ours {
            let what = format!("the signature {}", found.digest);
            let content = self.manifest(reference, found.digest.as_str()).await?;
            let content =
                content.ok_or_else(|| Problem::Absent(format!("{what} is listed and not in the registry")))?;
            verify(&what, &found.digest, &content, MAX_MANIFEST)?;
            let manifest = Manifest::read(&what, &content)?;
            // A list may name anything; what counts is what the signature's own manifest refers to.
            if manifest.subject.as_ref().is_some_and(|its| its.digest == *subject) {
                layers.extend(signature::layers(&manifest, Signature::MINISIGN));
            }
        }
        if let Some(content) = self.manifest(reference, &signature::cosign_tag(subject)).await? {
            let manifest = Manifest::read("cosign's signatures", &content)?;
            layers.extend(signature::layers(&manifest, Signature::COSIGN));
        }
        signature::check_count(layers.len())?;
        let mut signatures = Vec::new();
        for layer in layers {
            let bytes = self.blob(reference, signature::WHAT, &layer.digest, MAX_SIGNATURE).await?.to_vec();
            signatures.push(Signature { media_type: layer.media_type, bytes, annotations: layer.annotations });
        }
        Ok(signatures)
    }

    /// What refers to an image: by the registry's own list, or by the tag that stands for it where there is none.
    async fn referrers(&self, reference: &Reference, subject: &Digest) -> Result<Vec<Descriptor>> {
        let what = "the list of what refers to the package";
        let pages = match self.pages(reference, &format!("referrers/{subject}")).await? {
            Some(pages) => pages,
            None => self.manifest(reference, &subject.as_tag()).await?.into_iter().collect(),
        };
        let mut all = Vec::new();
        for page in pages {
            all.extend(Index::read(what, &page)?.manifests);
        }
        Ok(all)
    }

    /// All pages of a list, if there is such a list.
    async fn pages(&self, reference: &Reference, path: &str) -> Result<Option<Vec<Bytes>>> {
        let mut pages = Vec::new();
        let mut next = Some(Call::new(Method::GET, path.to_owned()));
        while let Some(call) = next {
            let answer = self.http.call(reference, call).await?;
            if answer.status() == StatusCode::NOT_FOUND && pages.is_empty() {
                return Ok(None);
            }
            if pages.len() == MAX_PAGES {
                return Err(Problem::Invalid(format!(
                    "`{path}` has more than {MAX_PAGES} pages; remove what is not needed"
                )));
            }
            let answer = answer.expect(StatusCode::OK).await?;
            next = answer.next_page()?.map(|url| Call::to(Method::GET, url));
            pages.push(answer.body(path, MAX_MANIFEST).await?);
        }
        Ok(Some(pages))
    }

    /// Pushes what refers to a package, and enters it in the list where the registry keeps none itself.
    async fn refer(&self, reference: &Reference, manifest: &Manifest) -> Result<()> {
        self.upload(reference, &Bytes::from_static(EMPTY_CONTENT)).await?;
        let content = manifest.to_bytes();
        let mut descriptor = Descriptor::of(IMAGE_MANIFEST, &content);
        let answer = self.put_manifest(reference, descriptor.digest.as_str(), IMAGE_MANIFEST, &content).await?;
        let Some(subject) = manifest.subject.as_ref().filter(|_| !answer.knows_subjects()) else { return Ok(()) };
        descriptor.artifact_type.clone_from(&manifest.artifact_type);
        descriptor.annotations.clone_from(&manifest.annotations);
        let tag = subject.digest.as_tag();
        for _ in 0..MERGES {
            let found = self.manifest(reference, &tag).await?;
            let found = found.map(|found| Index::read("the list of what refers to the package", &found)).transpose()?;
            let mut index = found.unwrap_or_else(|| Index::new(Vec::new()));
            if index.manifests.contains(&descriptor) {
                return Ok(());
            }
            index.enter(descriptor.clone());
            self.put_manifest(reference, &tag, IMAGE_INDEX, &index.to_bytes()).await?;
            // Somebody else may have written meanwhile, and a registry has no lock: the next round looks.
        }
        let found = self.referrers(reference, &subject.digest).await?;
        if found.contains(&descriptor) { Ok(()) } else { Err(crowded(&tag)) }
    }

    async fn add_cosign(&self, reference: &Reference, digest: &Digest, layer: Descriptor) -> Result<()> {
        let tag = signature::cosign_tag(digest);
        for _ in 0..=MERGES {
            let found = self.manifest(reference, &tag).await?;
            let found = found.map(|found| Manifest::read("cosign's signatures", &found)).transpose()?;
            let mut layers = found.map(|found| found.layers).unwrap_or_default();
            if layers.contains(&layer) {
                return Ok(());
            }
            layers.push(layer.clone());
            signature::check_count(layers.len())?;
            let image = signature::cosign_image(layers);
            self.upload(reference, &signature::cosign_config(&image)).await?;
            self.put_manifest(reference, &tag, IMAGE_MANIFEST, &image.to_bytes()).await?;
        }
        Err(crowded(&tag))
    }

    async fn put_manifest(&self, reference: &Reference, name: &str, kind: &str, content: &Bytes) -> Result<Answer> {
        let call = Call::new(Method::PUT, format!("manifests/{name}")).with(kind, content.clone());
        self.http.call(reference, call).await?.expect(StatusCode::CREATED).await
    }

    /// Uploads a blob unless it is there.
    async fn upload(&self, reference: &Reference, content: &Bytes) -> Result<()> {
        let digest = Digest::of(content);
        let there = self.http.call(reference, Call::new(Method::HEAD, format!("blobs/{digest}")).for_push()).await?;
        if there.status() == StatusCode::OK {
            return Ok(());
        }
        let begun = self.http.call(reference, Call::new(Method::POST, "blobs/uploads/".into())).await?;
        let mut place = begun.expect(StatusCode::ACCEPTED).await?.location()?;
        place.query_pairs_mut().append_pair("digest", digest.as_str());
        let call = Call::to(Method::PUT, place).with("application/octet-stream", content.clone());
        self.http.call(reference, call).await?.expect(StatusCode::CREATED).await.map(drop)
    }
}

fn absent(what: &str) -> Problem {
    Problem::Absent(format!("the registry has no such {what}; look at the name, or push it"))
}

fn crowded(tag: &str) -> Problem {
    Problem::Refused(format!("others change the tag `{tag}` all the time; try again"))
}

/// A package is called as its repository and as its tag: nobody passes for somebody else.
/// Checks that a package has the name and, where the tag is one, the version of its place: both are in what is signed, and the place is not.
pub fn check_name(reference: &Reference, artifact: &Artifact) -> std::result::Result<(), ArtifactError> {
    let about = &artifact.policy().package;
    let refused = |message: String| Err(ArtifactError::invalid("policy.toml", message));
    if about.name != reference.name() {
        return refused(format!(
            "the package is called `{}`, and the repository `{}`; they must be the same",
            about.name,
            reference.name()
        ));
    }
    match reference.version() {
        Some(tagged) if Version::parse(&about.version).ok().as_ref() != Some(&tagged) => refused(format!(
            "the package has the version `{}`, and the tag says `{tagged}`; they must be the same",
            about.version
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;

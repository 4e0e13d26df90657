//! `mmlens whatif` and `mmlens studio`: a session about one sample.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::str::FromStr;

use anyhow::{Context, Result};
use clap::Args;
use mmlens::METHODS;
use mmlens::core::{Clip, Memory, Picture, Sample, Subject, Watch};
use mmlens::files::{read_doubles, read_tensor};
use mmlens::whatif::{Direction, Server, Settings, Token, WhatIf, page};

use crate::audio::recordings_on_page;
use crate::edits::EditArgs;
use crate::input::{QuestionArgs, suited};
use crate::model::ModelArgs;
use crate::print;
use crate::progress::{stoppable, stopped};

/// Answers what-if requests about one sample: hide a part, change a word, switch off a head, steer, ask again, compare.
///
/// One request of JSON a line on standard input, one reply a line on standard output, such as
/// {"do": "hide", "cells": [27, 28]} and {"do": "difference"}. With --listen the same on a port of this machine. The requests
/// are listed in docs/whatif.md.
#[derive(Debug, Args)]
pub(crate) struct Ask {
    #[command(flatten)]
    session: SessionArgs,
    /// Listens on this address of loopback instead, for POST /session with the token that is printed; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
}

/// Shows a page on which a sample is changed by hand: click patches to hide them, strike words, switch heads off, steer, and see the answer,
/// its probabilities and maps change.
///
/// Open the address that is printed; it holds a token that nobody else knows. Nothing leaves this machine. Ends with Ctrl+C.
#[derive(Debug, Args)]
pub(crate) struct Studio {
    #[command(flatten)]
    session: SessionArgs,
    /// The address of loopback where the page is; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// What a session is begun with.
#[derive(Debug, Args)]
struct SessionArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    question: QuestionArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// A direction to steer by, a tensor of one row from a safetensors file: red=probe.safetensors#weights. Repeat it for several.
    #[arg(long = "direction", value_name = "NAME=FILE#TENSOR")]
    directions: Vec<Named>,
    /// Rows and columns of the cells of every picture.
    #[arg(long, value_name = "ROWSxCOLUMNS", default_value = "8x8")]
    grid: Grid,
    /// The most tokens of an answer; without it 64, or fewer where the checkpoint says so.
    #[arg(long, value_name = "N")]
    max_new: Option<usize>,
    /// The most memory that the passes of a map may take at once, such as 512MiB or 2GiB.
    #[arg(long, value_name = "SIZE", default_value_t)]
    memory: Memory,
}

/// Rows and columns.
#[derive(Debug, Clone, Copy)]
struct Grid([usize; 2]);

impl FromStr for Grid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sides =
            text.split_once('x').and_then(|(rows, cols)| Some([rows.parse().ok()?, cols.parse().ok()?]));
        sides.map(Self).ok_or_else(|| format!("`{text}`: expected ROWSxCOLUMNS, such as 8x8"))
    }
}

/// A direction that is read from a file.
#[derive(Debug, Clone)]
struct Named(Direction);

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}`: expected NAME=FILE#TENSOR, such as red=probe.safetensors#weights");
        let (name, place) = text.split_once('=').ok_or_else(wrong)?;
        let (file, tensor) = place.rsplit_once('#').ok_or_else(wrong)?;
        if name.is_empty() || file.is_empty() || tensor.is_empty() {
            return Err(wrong());
        }
        // What was learned is kept in double precision.
        let doubles = read_doubles(file).ok().and_then(|(mut tensors, _)| tensors.remove(tensor));
        let (shape, values): (Vec<usize>, Vec<f32>) = match doubles {
            Some(own) => (own.shape, own.values.into_iter().map(|value| value as f32).collect()),
            None => {
                let own = read_tensor(file, tensor).map_err(|error| error.to_string())?;
                (own.shape, own.values)
            }
        };
        let rows: usize = shape.iter().rev().skip(1).product();
        match rows {
            1 => Ok(Self(Direction { name: name.to_owned(), values })),
            _ => Err(format!("`{text}`: the tensor has shape {shape:?}, expected one row")),
        }
    }
}

/// Whether somebody asked the program to stop.
struct Stopping;

impl Watch for Stopping {
    fn step(&self, _: &'static str, _: usize, _: usize) -> ControlFlow<()> {
        if stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// What a session is about, to be shown.
struct Showing<'a> {
    subject: &'a dyn Subject,
    sample: &'a Sample,
}

impl Showing<'_> {
    /// Its pictures, the first frames of its clips, the spectrograms of its recordings.
    fn pictures(&self) -> Result<Vec<Picture>> {
        let Sample { pictures, clips, recordings, .. } = self.sample;
        // A clip has a frame.
        let frame = |clip: &Clip| {
            let image = clip.frames.first()?.as_ref().clone();
            Some(Picture::new(clip.name.clone(), image))
        };
        let mut all: Vec<Picture> = pictures.iter().cloned().chain(clips.iter().filter_map(frame)).collect();
        if !recordings.is_empty() {
            let inputs = self.subject.encode(self.sample)?;
            for own in recordings_on_page(recordings, all.len(), &inputs.map().sounds)? {
                all.push(Picture::new(own.name(), own.pixels()?));
            }
        }
        Ok(all)
    }
}

impl SessionArgs {
    /// Opens model and sample, and hands over a session about them, with what the sample shows.
    fn with(&self, go_on: impl FnOnce(WhatIf<'_>, Showing<'_>) -> Result<()>) -> Result<()> {
        let sample = self.question.sample()?;
        let subject = self.edits.of(self.model.open()?)?;
        let subject: &dyn Subject = &subject;
        suited(subject, &sample.words)?;
        let usual = Settings::default();
        let settings = Settings {
            grid: self.grid.0,
            max_new: self.max_new.unwrap_or(usual.max_new),
            memory: self.memory,
            ..usual
        };
        let directions = self.directions.iter().map(|named| named.0.clone()).collect();
        let showing = Showing { subject, sample: &sample };
        go_on(WhatIf::begin(subject, sample.clone(), METHODS, settings)?.directions(directions), showing)
    }
}

fn bound(address: SocketAddr, document: Option<mmlens::whatif::Document>) -> Result<(Server, Token)> {
    let token = Token::drawn().context("no token can be drawn")?;
    let server = Server::bind(address, token.clone(), document);
    Ok((server.with_context(|| format!("cannot listen on {address}"))?, token))
}

impl Ask {
    pub(crate) fn run(&self) -> Result<()> {
        self.session.with(|mut session, _| match self.listen {
            None => {
                Ok(session.converse(io::stdin().lock(), io::stdout().lock(), &Stopping).or_else(closed)?)
            }
            Some(address) => {
                let (server, token) = bound(address, None)?;
                stoppable()?;
                print::line(format!("answering at {} with the token {}", server.requests(), token.text()))?;
                Ok(server.serve(&mut session, &stopped)?)
            }
        })
    }
}

impl Studio {
    pub(crate) fn run(&self) -> Result<()> {
        self.session.with(|mut session, showing| {
            let document = page(&showing.pictures()?, &[])?;
            let (server, _) = bound(self.listen, Some(document))?;
            stoppable()?;
            print::line(format!("open {}", server.page()))?;
            Ok(server.serve(&mut session, &stopped)?)
        })
    }
}

/// Nobody reads the replies any more.
fn closed(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

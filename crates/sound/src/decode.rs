//! From the bytes of a file to the samples of one channel, within limits that hold while it is decoded.

use std::io::{self, Cursor};

use mmlens_files::caught;
use symphonia::core::audio::Channels;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatOptions, FormatReader, Track};
use symphonia::core::io::MediaSourceStream;
use symphonia::default::codecs::{FlacDecoder, MpaDecoder, PcmDecoder, VorbisDecoder};
use symphonia::default::formats::{FlacReader, MpaReader, OggReader, WavReader};

use crate::codebooks::{MOST_NUMBERS, numbers};
use crate::error::SoundError;
use crate::format::{Format, format_of, wav_channels, wav_coding};
use crate::sound::{MOST_CHANNELS, MOST_SAMPLES, rate_within};
use crate::whole::{Fault, Frames, pages};

/// The most channels of Vorbis: with three or more, symphonia 0.6.1 gives other samples than libvorbis, with six by half of full
/// scale.
const MOST_VORBIS_CHANNELS: usize = 2;

/// The samples of a file, its channels mixed, and their rate in Hz.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) samples: Vec<f32>,
    pub(crate) rate: u32,
    /// The mean power of the channels that were mixed, if there were several.
    pub(crate) channels: Option<f64>,
}

/// Decodes a file.
pub(crate) fn decoded(name: &str, bytes: &[u8]) -> Result<Decoded, SoundError> {
    let (format, bytes) =
        format_of(bytes).map_err(|found| SoundError::Format { name: name.to_owned(), found })?;
    if let Some(found) = wav_coding(bytes) {
        return Err(SoundError::Format { name: name.to_owned(), found });
    }
    let work =
        || Decoding { name, samples: Vec::new(), rate: 0, promised: None, power: 0.0 }.run(format, bytes);
    caught(work).unwrap_or_else(|source| Err(SoundError::Panic { name: name.to_owned(), source }))
}

/// A file as it is decoded: what was read of it so far.
struct Decoding<'a> {
    name: &'a str,
    samples: Vec<f32>,
    rate: u32,
    /// How many samples of each channel it says that it has.
    promised: Option<u64>,
    /// The squares of the samples of all channels, added up.
    power: f64,
}

impl Decoding<'_> {
    fn run(mut self, format: Format, bytes: &[u8]) -> Result<Decoded, SoundError> {
        if format == Format::Vorbis {
            let setup = pages(bytes).map_err(|fault| self.fault(fault))?;
            let found = numbers(&setup);
            if found > MOST_NUMBERS {
                return Err(self.most("numbers in its codebooks", found, MOST_NUMBERS));
            }
        }
        // The reader of WAV knows no more than so many either, and does not say it.
        if let Some(channels) = wav_channels(bytes).filter(|channels| usize::from(*channels) > MOST_CHANNELS)
        {
            return Err(self.most("channels", channels.into(), MOST_CHANNELS as u64));
        }
        let mut reader = opened(format, bytes).map_err(|error| self.told(error))?;
        let (track, about) = the_track(reader.as_ref()).map_err(|reason| self.broken(reason))?;
        let channels = about.channels.as_ref().map_or(0, Channels::count);
        self.rate = about.sample_rate.unwrap_or_default();
        self.promised = track.num_frames;
        if channels == 0 {
            return Err(self.broken("it has no channels, expected at least one"));
        }
        if channels > MOST_CHANNELS {
            return Err(self.most("channels", channels as u64, MOST_CHANNELS as u64));
        }
        if format == Format::Vorbis && channels > MOST_VORBIS_CHANNELS {
            return Err(self.most("channels of Vorbis", channels as u64, MOST_VORBIS_CHANNELS as u64));
        }
        rate_within(self.name, self.rate)?;
        let mut decoder = decoder(format, &about).map_err(|error| self.told(error))?;
        let mut frames = (format == Format::Mp3).then(|| Frames::new(bytes));
        let mut interleaved = Vec::new();
        loop {
            let packet = match reader.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                // A stream that was written without its length ends where the file does.
                Err(Error::IoError(error))
                    if error.kind() == io::ErrorKind::UnexpectedEof
                        && format == Format::Wav
                        && track.num_frames.is_none() =>
                {
                    break;
                }
                Err(error) => return Err(self.told(error)),
            };
            if let Some(frames) = &mut frames {
                frames.next(&packet.data).map_err(|fault| self.fault(fault))?;
            }
            // Frames of FLAC say where they stand: damaged ones are passed over.
            if format == Format::Flac && packet.pts.get() != self.samples.len() as i64 {
                return Err(self
                    .broken(format!("frames are missing: the next one begins with sample {}", packet.pts)));
            }
            let audio = decoder.decode(&packet).map_err(|error| self.told(error))?;
            if audio.spec().rate() != self.rate || audio.spec().channels().count() != channels {
                return Err(self.broken("its rate or its channels change midway"));
            }
            let all = (self.samples.len() as u64 + audio.frames() as u64) * channels as u64;
            if all > MOST_SAMPLES as u64 {
                return Err(self.most("samples in all channels", all, MOST_SAMPLES as u64));
            }
            audio.copy_to_vec_interleaved::<f32>(&mut interleaved);
            self.power += interleaved.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
            mixed(&interleaved, channels, &mut self.samples);
        }
        let decoded = self.samples.len() * channels;
        match frames {
            Some(frames) => self.trimmed(&frames, &track)?,
            None => self.counted(&track)?,
        }
        if decoder.finalize().verify_ok == Some(false) {
            return Err(self.broken("its samples are not those of its checksum"));
        }
        let channels = (channels > 1 && decoded > 0).then(|| self.power / decoded as f64);
        Ok(Decoded { samples: self.samples, rate: self.rate, channels })
    }

    /// Refuses a file that has not as many samples as it says.
    fn counted(&self, track: &Track) -> Result<(), SoundError> {
        let begins = u64::try_from(track.start_ts.get()).unwrap_or(0);
        let Some(says) = track.num_frames.map(|frames| frames.saturating_sub(begins)) else { return Ok(()) };
        self.as_many(says)
    }

    fn as_many(&self, says: u64) -> Result<(), SoundError> {
        match self.samples.len() as u64 {
            read if read < says => {
                Err(self.fault(Fault::CutOff(format!("it says that it has {says} samples"))))
            }
            read if read > says => Err(self.broken(format!("it says that it has {says} samples"))),
            _ => Ok(()),
        }
    }

    /// Refuses an MP3 file that has not as many frames as it says, and leaves out what its encoder put before and behind.
    fn trimmed(&mut self, frames: &Frames<'_>, track: &Track) -> Result<(), SoundError> {
        frames.done().map_err(|fault| self.fault(fault))?;
        if !frames.has_tag() {
            return Ok(());
        }
        let [before, behind] = [track.delay, track.padding].map(|many| many.unwrap_or_default() as usize);
        if let Some(rest) = track.num_frames {
            self.as_many(rest + (before + behind) as u64)?;
        }
        self.samples.truncate(self.samples.len().saturating_sub(behind));
        self.samples.drain(..before.min(self.samples.len()));
        Ok(())
    }

    fn broken(&self, reason: impl Into<String>) -> SoundError {
        self.fault(Fault::Broken(reason.into()))
    }

    fn most(&self, what: &'static str, found: u64, most: u64) -> SoundError {
        SoundError::Most { name: self.name.to_owned(), what, found, most }
    }

    fn fault(&self, fault: Fault) -> SoundError {
        let (name, read) = (self.name.to_owned(), self.samples.len() as u64);
        match fault {
            Fault::Broken(reason) => SoundError::Broken { name, reason, read },
            Fault::CutOff(reason) => {
                let seconds = if self.rate == 0 { 0.0 } else { read as f64 / f64::from(self.rate) };
                SoundError::CutOff { name, reason, read, seconds }
            }
        }
    }

    /// What a decoder says.
    fn told(&self, error: Error) -> SoundError {
        match error {
            Error::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let promised = self.promised.map(|many| format!(", and its header promises {many} samples"));
                self.fault(Fault::CutOff(format!("the file ends{}", promised.unwrap_or_default())))
            }
            other => self.broken(other.to_string()),
        }
    }
}

fn opened<'a>(format: Format, bytes: &'a [u8]) -> Result<Box<dyn FormatReader + 'a>, Error> {
    let source = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
    let options = FormatOptions::default();
    Ok(match format {
        Format::Wav => Box::new(WavReader::try_new(source, options)?),
        Format::Flac => Box::new(FlacReader::try_new(source, options)?),
        Format::Mp3 => Box::new(MpaReader::try_new(source, options)?),
        Format::Vorbis => Box::new(OggReader::try_new(source, options)?),
    })
}

/// The one track of a file, and what is said of its samples.
fn the_track(reader: &dyn FormatReader) -> Result<(Track, AudioCodecParameters), &'static str> {
    let [track] = reader.tracks() else { return Err("it has several tracks or none, expected one") };
    match &track.codec_params {
        Some(CodecParameters::Audio(about)) => Ok((track.clone(), about.clone())),
        _ => Err("its track is no sound"),
    }
}

fn decoder(format: Format, about: &AudioCodecParameters) -> Result<Box<dyn AudioDecoder>, Error> {
    // Of MP3 the decoder would leave out what is behind a length that is estimated, where none is written.
    let options = AudioDecoderOptions::default().gapless(format != Format::Mp3).verify(true);
    Ok(match format {
        Format::Wav => Box::new(PcmDecoder::try_new(about, &options)?),
        Format::Flac => Box::new(FlacDecoder::try_new(about, &options)?),
        Format::Mp3 => Box::new(MpaDecoder::try_new(about, &options)?),
        Format::Vorbis => Box::new(VorbisDecoder::try_new(about, &options)?),
    })
}

/// The mean of the channels.
fn mixed(interleaved: &[f32], channels: usize, into: &mut Vec<f32>) {
    if channels == 1 {
        into.extend_from_slice(interleaved);
        return;
    }
    let mean = |frame: &[f32]| frame.iter().map(|sample| f64::from(*sample)).sum::<f64>() / channels as f64;
    into.extend(interleaved.chunks_exact(channels).map(|frame| mean(frame) as f32));
}

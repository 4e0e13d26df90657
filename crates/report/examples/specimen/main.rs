//! Writes a page that shows every kind of drawing, from invented numbers: `specimen FILE [PATCHES PER SIDE]`.

mod page;

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("specimen FILE [PATCHES PER SIDE]")?;
    let side = arguments.next().map_or(Ok(24), |side| side.parse())?;
    page::page(side)?.save(&file)?;
    Ok(())
}

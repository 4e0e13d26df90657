//! Writes a page that shows every kind of drawing, from invented numbers: `specimen FILE [PATCHES PER SIDE | pair | large]`.

mod large;
mod page;
mod pair;

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("specimen FILE [PATCHES PER SIDE | pair | large]")?;
    let page = match arguments.next().as_deref() {
        Some("pair") => pair::page()?,
        Some("large") => large::page()?,
        Some(side) => page::page(side.parse()?)?,
        None => page::page(24)?,
    };
    page.save(&file)?;
    Ok(())
}

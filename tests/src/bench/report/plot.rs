//! A picture of the times by frame, as SVG.

use anyhow::{Context, Result};
use plotters::prelude::{
    BLACK, Color as _, IntoDrawingArea as _, RGBColor, Rectangle, SVGBackend, Text, WHITE,
};
use plotters::style::IntoFont as _;

use super::super::contender::Contender;
use super::super::samples::{Row, Unit};
use super::Report;

const WIDTH: u32 = 1000;
const LEFT: i32 = 320;
const BAR: i32 = 11;
const GAP: i32 = 12;
const TOP: i32 = 60;
const FONT: &str = "sans-serif";

/// A bar for each contender and scenario of which the unit is time by frame, drawn to one scale.
///
/// # Errors
///
/// When there is no such scenario.
pub fn to_svg(report: &Report) -> Result<String> {
    let is_drawn = |row: &&Row| {
        row.unit == Unit::NanosecondsPerFrame
            && row.void.is_none()
            && row.samples.len() == Contender::ALL.len()
    };
    let rows: Vec<&Row> = report.rows.iter().filter(is_drawn).collect();
    let medians = rows.iter().flat_map(|row| Contender::ALL.map(|contender| row.median(contender)));
    let greatest = medians.flatten().reduce(f64::max).context("no times by frame were measured")?;
    let of_row = BAR * Contender::ALL.len() as i32 + GAP;
    let height = TOP + of_row * i32::try_from(rows.len())?;

    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height.unsigned_abs())).into_drawing_area();
        area.fill(&WHITE)?;
        for (place, contender) in (0_i32..).zip(Contender::ALL) {
            let left = LEFT + place * 110;
            area.draw(&Rectangle::new([(left, 30), (left + 10, 40)], color(contender).filled()))?;
            area.draw(&Text::new(contender.name(), (left + 14, 29), (FONT, 12).into_font().color(&BLACK)))?;
        }
        area.draw(&Text::new("ns for each frame", (10, 29), (FONT, 14).into_font().color(&BLACK)))?;
        for (place, row) in (0_i32..).zip(&rows) {
            let top = TOP + place * of_row;
            area.draw(&Text::new(row.scenario.clone(), (10, top + of_row / 3), (FONT, 12).into_font()))?;
            for (place, contender) in (0_i32..).zip(Contender::ALL) {
                let median = row.median(contender).unwrap_or(0.0);
                let length = (median / greatest * f64::from(WIDTH as i32 - LEFT - 60)).round() as i32;
                let y = top + place * BAR;
                let bar = [(LEFT, y), (LEFT + length, y + BAR - 2)];
                area.draw(&Rectangle::new(bar, color(contender).filled()))?;
                let label = (LEFT + length + 4, y - 1);
                area.draw(&Text::new(format!("{median:.0}"), label, (FONT, 10).into_font()))?;
            }
        }
        area.present()?;
    }
    Ok(svg)
}

/// Distinguishable with every kind of colour vision (Okabe and Ito).
const fn color(contender: Contender) -> RGBColor {
    match contender {
        Contender::None => RGBColor(153, 153, 153),
        Contender::EmptyXdp => RGBColor(86, 180, 233),
        Contender::EmptyTc => RGBColor(0, 158, 115),
        Contender::SgfwXdp => RGBColor(0, 114, 178),
        Contender::SgfwTc => RGBColor(240, 228, 66),
        Contender::Nftables => RGBColor(213, 94, 0),
    }
}

//! The clean-ups of Chinese text after normalisation.
//!
//! Mirrors the Chinese branch of `text_normalize` in `cosyvoice/cli/frontend.py` with `replace_blank`,
//! `replace_corner_mark` and `remove_bracket` of `cosyvoice/utils/frontend_utils.py`, in their order.

/// Line breaks and spaces beside Chinese removed, corner marks read, full stops made Chinese, brackets dropped, a
/// trailing comma made a full stop.
pub fn chinese(text: &str) -> String {
    let text = text.replace('\n', "");
    let text = drop_blanks(&text);
    let text = text
        .replace('²', "平方")
        .replace('³', "立方")
        .replace('.', "。")
        .replace(" - ", "，");
    let text: String = text.chars().filter(|c| !"（）【】`".contains(*c)).collect();
    let mut text = text.replace("——", " ");
    let body = text.trim_end_matches(['，', ',', '、']).len();
    if body < text.len() {
        text.truncate(body);
        text.push('。');
    }
    text
}

/// Keeps a space only between two ASCII characters that are not spaces. (Upstream reads past the end when the text
/// ends with a space; here such a space is dropped. At the start it looks at the last character; kept.)
fn drop_blanks(text: &str) -> String {
    let solid = |c: Option<char>| c.is_some_and(|c| c.is_ascii() && c != ' ');
    let mut out = String::with_capacity(text.len());
    let mut before = text.chars().next_back();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != ' ' || (solid(chars.peek().copied()) && solid(before)) {
            out.push(c);
        }
        before = Some(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_up_in_order() {
        assert_eq!(chinese("换行\n测试，\n"), "换行测试。");
        assert_eq!(chinese("打开 Wi-Fi ，访问 a b"), "打开Wi-Fi，访问a b");
        assert_eq!(
            chinese("《三体》（刘慈欣著）是【科幻】小说——好"),
            "《三体》刘慈欣著是科幻小说 好"
        );
        assert_eq!(chinese("5m²和3m³"), "5m平方和3m立方");
        assert_eq!(chinese("版本1.2，,、"), "版本1。2。");
        assert_eq!(chinese(" 好 "), "好");
        assert_eq!(chinese(""), "");
    }
}

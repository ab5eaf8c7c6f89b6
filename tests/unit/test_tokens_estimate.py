# ruff: noqa: RUF001 - the samples are in the languages' own letters on purpose
"""The estimate, held against the real encodings on text in some seventy languages and on what else prompts hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyfleet.tokens import estimate_tokens
from keyfleet.tokens.encodings import RANK_FILES, Encoding, EncodingLoader
from keyfleet.tokens.estimate import SLICE_CHARS
from keyfleet.tokens.vocabulary import CharacterCosts, listed

LANGUAGES = {
    "English": "When the committee finally met, nobody could remember why the bridge hadn't been repaired last autumn.",
    "German": "Die Straßenbahnhaltestelle wurde überraschend geschlossen, obwohl größere Arbeiten erst später kamen.",
    "French": "L'été dernier, nous avons goûté d'excellents fromages près d'une vieille église où jouait un garçon.",
    "Spanish": "Mañana por la tarde veremos cómo los niños pequeños juegan al ajedrez bajo los árboles del jardín.",
    "Portuguese": "As crianças não saíram de casa porque a chuva começou de manhã e só parou depois do almoço.",
    "Italian": "Perché non andiamo a piedi fino alla città vecchia, così possiamo fermarci a mangiare qualcosa?",
    "Dutch": "Gisteren reed ik met mijn gloednieuwe fiets langs het kanaal, terwijl de schaatsers nog oefenden.",
    "Swedish": "Flickan sprang över ängen för att hinna med tåget, men hon glömde sina nycklar på köksbordet.",
    "Danish": "Færgen sejlede klokken ni, så vi måtte skynde os ned ad gågaden med vores tunge kufferter.",
    "Norwegian": "Været skifter raskt på fjellet, derfor bør du alltid ha med ekstra klær, kart og kompass.",
    "Icelandic": "Við gengum meðfram ströndinni þangað til sólin hvarf á bak við fjöllin og veðrið kólnaði.",
    "Finnish": "Lähdimme aamuvarhain mökille, koska halusimme nähdä järven ennen kuin sumu hälvenisi kokonaan.",
    "Estonian": "Öösel sadas lund, nii et hommikul pidime tükk aega otsima, kuhu me oma jalgrattad jätsime.",
    "Latvian": "Vakar vakarā mēs ilgi runājām par to, kā jaunākie skolēni varētu iemācīties peldēt ezerā.",
    "Lithuanian": "Šiandien turguje pirkome šviežių braškių, sūrio ir juodos duonos, o vėliau grįžome pėsčiomis.",
    "Polish": "Wczoraj wieczorem źle się czułem, więc zostałem w łóżku i przeczytałem całą książkę o żeglarzach.",
    "Czech": "Příští týden pojedeme vlakem k babičce, která bydlí v malé vesnici pod zříceninou hradu.",
    "Slovak": "Keď začalo pršať, deti sa schovali pod veľký dub a čakali, kým sa obloha znovu vyjasní.",
    "Slovenian": "Včeraj smo se povzpeli na hrib, od koder se vidi jezero, gozdovi in zasnežene gore na severu.",
    "Croatian": "Jučer smo razgovarali o knjizi koju je učiteljica preporučila, ali još je nitko nije pročitao.",
    "Hungarian": "Tegnap este együtt vacsoráztunk a szüleimmel, és közben a gyerekkori élményeinkről beszélgettünk.",
    "Romanian": "Bunica mea își amintește că în copilărie mergeau pe jos până la școală, chiar și când ningea.",
    "Albanian": "Fëmijët luajnë në oborr ndërsa gjyshi lexon gazetën dhe pi një filxhan çaj të nxehtë.",
    "Turkish": "Dün akşam arkadaşlarımızla buluşup güneşin batışını izledik, sonra da küçük bir lokantada yemek yedik.",
    "Azerbaijani": "Səhər tezdən bazara getdik, təzə göyərti və çörək aldıq, sonra nənəmin evinə qayıtdıq.",
    "Uzbek": "Bugun ertalab bog‘da ishladik, keyin qo‘shnilar bilan choy ichib, uzoq suhbatlashdik.",
    "Vietnamese": "Hôm qua chúng tôi đã đi dạo quanh hồ, rồi ngồi uống cà phê và nói chuyện về những kỷ niệm cũ.",
    "Indonesian": "Setiap pagi ayah membaca surat kabar sambil minum kopi, lalu berangkat ke kantor naik kereta.",
    "Tagalog": "Noong bata pa ako, madalas kaming maglaro sa tabi ng ilog habang naglalaba ang aking lola.",
    "Swahili": "Watoto walikwenda shuleni mapema asubuhi, kisha wakarudi nyumbani kumsaidia mama yao shambani.",
    "Yoruba": "Àwọn ọmọdé ń ṣeré lábẹ́ igi ńlá kan nígbà tí ìyá àgbà ń sọ ìtàn fún wọn.",
    "Hausa": "Yara suna wasa a ƙarƙashin babbar bishiya yayin da tsohuwa ke ba su labarin ƙasarsu.",
    "Zulu": "Izingane zidlala ngaphandle ngenkathi ugogo epheka ukudla kwasemini ekhishini elincane.",
    "Welsh": "Cerddodd y plant adref o'r ysgol drwy'r glaw, gan chwerthin am ben y cŵn gwlyb yn y cae.",
    "Irish": "Bhí na páistí ag súgradh cois farraige nuair a thosaigh an bháisteach ag titim go trom.",
    "Basque": "Atzo arratsaldean mendira igo ginen, eta gailurretik itsasoa eta herri guztiak ikusi genituen.",
    "Catalan": "Ahir a la nit vam sopar a casa dels avis i després vam passejar una estona vora la platja.",
    "Esperanto": "Hieraŭ vespere ni promenis ĉirkaŭ la lago kaj aŭskultis, kiel la ranoj ĝoje kantis.",
    "Greek": "Χθες το βράδυ περπατήσαμε δίπλα στη θάλασσα και μιλήσαμε για τα παιδικά μας χρόνια.",
    "Russian": "Вчера вечером мы долго гуляли вдоль реки и вспоминали, как в детстве строили здесь плоты.",
    "Ukrainian": "Учора ввечері ми довго гуляли вздовж річки й пригадували, як у дитинстві їздили до бабусі.",
    "Bulgarian": "Снощи се разхождахме край морето и си спомняхме как като деца събирахме миди по плажа.",
    "Serbian": "Јуче смо дуго шетали поред реке и сећали се како смо као деца овде правили сплавове.",
    "Kazakh": "Кеше кешке біз өзен жағасында ұзақ қыдырып, балалық шағымызды еске алып отырдық.",
    "Mongolian": "Өчигдөр орой бид голын эргээр удаан алхаж, хүүхэд насаа дурсан ярилцлаа.",
    "Arabic": "مشينا مساء أمس على ضفاف النهر، وتذكّرنا كيف كنّا نلعب هنا عندما كنّا صغارًا.",
    "Persian": "دیشب کنار رودخانه قدم زدیم و دربارهٔ خاطرات کودکی‌مان گفت‌وگو کردیم.",
    "Urdu": "کل شام ہم دریا کے کنارے دیر تک ٹہلتے رہے اور اپنے بچپن کی باتیں یاد کرتے رہے۔",
    "Hebrew": "אתמול בערב טיילנו לאורך הנהר ונזכרנו איך שיחקנו כאן כשהיינו ילדים קטנים.",
    "Yiddish": "נעכטן אין אָוונט זענען מיר געגאַנגען שפּאַצירן און האָבן גערעדט וועגן די קינדער־יאָרן.",
    "Hindi": "कल शाम हम नदी के किनारे देर तक टहलते रहे और अपने बचपन की बातें याद करते रहे।",
    "Marathi": "काल संध्याकाळी आम्ही नदीकाठी फिरायला गेलो आणि लहानपणीच्या आठवणी सांगितल्या.",
    "Nepali": "हिजो बेलुका हामी नदी किनारमा धेरै बेर हिँड्यौं र बाल्यकालका कुरा सम्झियौं।",
    "Bengali": "গতকাল সন্ধ্যায় আমরা নদীর ধারে অনেকক্ষণ হাঁটলাম আর ছোটবেলার গল্প করলাম।",
    "Punjabi": "ਕੱਲ੍ਹ ਸ਼ਾਮ ਅਸੀਂ ਨਦੀ ਦੇ ਕੰਢੇ ਦੇਰ ਤੱਕ ਸੈਰ ਕੀਤੀ ਅਤੇ ਬਚਪਨ ਦੀਆਂ ਗੱਲਾਂ ਯਾਦ ਕੀਤੀਆਂ।",
    "Gujarati": "ગઈકાલે સાંજે અમે નદીકિનારે લાંબો સમય ચાલ્યા અને બાળપણની વાતો યાદ કરી.",
    "Odia": "ଗତକାଲି ସନ୍ଧ୍ୟାରେ ଆମେ ନଦୀ କୂଳରେ ବୁଲୁଥିଲୁ ଏବଂ ପିଲାଦିନର କଥା ମନେ ପକାଉଥିଲୁ।",
    "Tamil": "நேற்று மாலை நாங்கள் ஆற்றங்கரையில் நடந்து சென்று சிறுவயது நினைவுகளைப் பேசினோம்.",
    "Telugu": "నిన్న సాయంత్రం మేము నది ఒడ్డున నడుస్తూ మా చిన్ననాటి జ్ఞాపకాలను గుర్తు చేసుకున్నాం.",
    "Kannada": "ನಿನ್ನೆ ಸಂಜೆ ನಾವು ನದಿಯ ದಡದಲ್ಲಿ ನಡೆದು ನಮ್ಮ ಬಾಲ್ಯದ ನೆನಪುಗಳನ್ನು ಹಂಚಿಕೊಂಡೆವು.",
    "Malayalam": "ഇന്നലെ വൈകുന്നേരം ഞങ്ങൾ പുഴയോരത്ത് നടന്നു, കുട്ടിക്കാലത്തെ ഓർമ്മകൾ പങ്കുവച്ചു.",
    "Sinhala": "ඊයේ සවස අපි ගඟ අසල බොහෝ වේලාවක් ඇවිද ළමා කාලයේ මතකයන් ගැන කතා කළෙමු.",
    "Thai": "เมื่อวานตอนเย็นเราเดินเล่นริมแม่น้ำและคุยกันเรื่องความทรงจำในวัยเด็กจนค่ำ",
    "Lao": "ມື້ວານຕອນແລງພວກເຮົາຍ່າງຫຼິ້ນແຄມແມ່ນ້ຳ ແລະ ລົມກັນເລື່ອງຕອນຍັງນ້ອຍ.",
    "Khmer": "ម្សិលមិញពេលល្ងាច យើងបានដើរលេងតាមមាត់ទន្លេ ហើយនិយាយអំពីអនុស្សាវរីយ៍កុមារភាព។",
    "Burmese": "မနေ့ညနေက ကျွန်တော်တို့ မြစ်ကမ်းဘေးမှာ လမ်းလျှောက်ပြီး ကလေးဘဝအကြောင်း ပြောခဲ့ကြတယ်။",
    "Tibetan": "ཁ་སང་དགོང་དྲོ་ང་ཚོ་གཙང་པོའི་འགྲམ་དུ་འཆམ་འཆམ་བྱས་ནས་བྱིས་པའི་དུས་ཀྱི་གཏམ་གླེང་བྱས།",
    "Georgian": "გუშინ საღამოს მდინარის პირას დიდხანს ვსეირნობდით და ბავშვობას ვიხსენებდით.",
    "Armenian": "Երեկ երեկոյան մենք երկար զբոսնեցինք գետի ափով և հիշեցինք մեր մանկությունը։",
    "Amharic": "ትናንት ማታ በወንዙ ዳርቻ ለረጅም ጊዜ ተራመድን እና የልጅነት ትዝታችንን አወራን።",
    "Chinese, simplified": "昨天晚上我们沿着河边散步了很久，回忆起小时候在这里钓鱼、放风筝的日子。",
    "Chinese, traditional": "昨天晚上我們沿著河邊散步了很久，回憶起小時候在這裡釣魚、放風箏的日子。",
    "Japanese": "昨日の夕方、川沿いを長く散歩しながら、子供のころにここで遊んだ思い出を語り合いました。",
    "Korean": "어제저녁에 우리는 강변을 오래 걸으며 어린 시절 이곳에서 놀던 추억을 이야기했습니다.",
    "Cherokee": "ᎣᏏᏲ, ᏙᎯᏧ? ᎠᏂᏣᎳᎩ ᎠᏂᏴᏫ ᎦᏚᎲᎢ ᎠᏁᎲᎢ.",
    "Inuktitut": "ᐅᓪᓛᒃᑯᑦ, ᖃᓄᐃᑉᐱᑦ? ᐃᓄᒃᑎᑐᑦ ᐅᖃᓪᓚᖃᑦᑕᖅᑐᒍᑦ.",
}

OTHER = {
    "emoji": "Great job 👍🏽 team! 🎉🎉 👩‍👩‍👧‍👦 🏳️‍🌈 🇯🇵🇧🇷 ❤️‍🔥 😂😂😂 🧑🏿‍🚀 5️⃣ ☕️",
    "Python": 'def tokens_of(path: Path, *, limit: int = 10) -> list[str]:\n    """Read it."""\n'
    "    with path.open(encoding='utf-8') as lines:\n        return [w for l in lines for w in l.split()][:limit]\n",
    "JavaScript": "export const debounce = (fn, ms) => {\n\tlet t;\n\treturn (...a) => { clearTimeout(t); "
    "t = setTimeout(() => fn(...a), ms); };\n};\n",
    "C++": "template <typename T>\n"
    "std::unique_ptr<T[]> zeros(std::size_t n) {\n    return std::make_unique<T[]>(n);\n}\n",
    "Rust": "impl<'a, K: Hash + Eq> Iterator for Keys<'a, K> {\n    type Item = &'a K;\n    fn next(&mut self) -> "
    "Option<&'a K> { self.inner.next().map(|(k, _)| k) }\n}\n",
    "SQL": "SELECT u.id, COUNT(*) AS n FROM users u LEFT JOIN orders o ON o.user_id = u.id WHERE o.total >= 99.95\n"
    "GROUP BY u.id HAVING COUNT(*) > 3 ORDER BY n DESC LIMIT 10;",
    "shell": "find . -name '*.log' -mtime +7 -print0 | xargs -0 rm -f && echo \"at: $(date +%F)\" >> ~/clean.log 2>&1",
    "HTML": '<!DOCTYPE html><html lang="en"><body class="a b"><p id="x">Hi &amp; bye<br/></p></body></html>\n',
    "JSON": '{"model":"gpt-4o","messages":[{"role":"user","content":"Hello"}],"n":1,"stop":["\\n\\n"],"x":{"y":null}}',
    "indented JSON": '{\n  "id": 17,\n  "tags": [\n    "red",\n    "blue"\n  ],\n  "price": -12.5e-3\n}\n',
    "table": "| name   | count | share |\n|--------|------:|------:|\n"
    "| alpha  |   120 | 12.0% |\n| beta   |    80 |  8.0% |\n",
    "CSV": "id;name;date;amount\r\n1;Müller;2024-02-29;1.299,00\r\n2;O'Neil;1999-12-31;-4,20\r\n",
    "URL": "https://www.example.org/path/to/page.html?utm_source=news&id=a1B2c3&lang=pt-BR#section-2.1",
    "UUID": "550e8400-e29b-41d4-a716-446655440000 f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "hexadecimal": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 0xDEADBEEF 0x7fff5fbff8c0",
    "base64": "TG9yZW0gaXBzdW0gZG9sb3Igc2l0IGFtZXQsIGNvbnNlY3RldHVyIGFkaXBpc2NpbmcgZWxpdCwgc2VkIGRvIGVpdXNtb2Q+/w==",
    "numbers": "3.14159265358979 1,234,567.89 -40 +49 (0)30 1234-5678 1e-10 12:34:56.789 12345678901234567 ٣٤٥ ۴۵۶ ५६७",
    "white space": "a  b   c\n\n\n    d\t\te \n \n\r\n\r\n  f        g\n" + " " * 100 + "h" + "\n" * 30 + "\t" * 40,
    "punctuation": "!!! ??? ... --- *** === ### ~~~ ((())) [[]] {{}} <<>> «quoted» “said” – and — so… ¿qué? ¡sí! § 7 •",
    "mathematics": "∀x∈ℝ: x² ≥ 0 ∧ ∑ᵢ₌₁ⁿ i = n(n+1)/2 ⇒ ∫₀^∞ e^{−x²}dx = √π/2 ≈ 0.886 𝑓(𝑥) ≠ ∅ ⊂ ℕ ± ∂y/∂x",
    "LaTeX": "\\begin{equation}\n  \\hat{\\theta} = \\arg\\max_{\\theta} \\sum_{i=1}^{n} "
    "\\log p(x_i \\mid \\theta)\n\\end{equation}",
    "capitals": "WARNING: THE FOLLOWING PROCEDURE MUST NOT BE INTERRUPTED. ÄNDERUNGEN SIND UNZULÄSSIG. НЕ ВКЛЮЧАТЬ!",
    "log line": "2024-05-17T08:15:30.123Z ERROR [worker-7] c.e.Service - Timeout after 30000ms (id=abc123, retry=2/5)",
    "chat": "omg u won't believe it lol... wtf?! brb, gonna grab smth 2 eat :) xoxo #blessed @someone_else",
    "box drawing": "┌──────┬──────┐\n│ ✔ ok │ ✘ no │\n└──────┴──────┘ ░▒▓█ ▲▼◆ →←↑↓ ★☆",
    "combining marks": "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!",
    "private use and unassigned": "\ue000\uf8ff \U000f0000\U0010fffd \u0378\uffff\U0003fffe",
}
SAMPLES = {**LANGUAGES, **OTHER}
WORDS = sorted({word for text in SAMPLES.values() for word in text.split()})
JOINTS = (" ", "\n", ", ", " - ")


@pytest.fixture(scope="module")
def encodings() -> list[Encoding]:
    """Both real encodings, from a local folder; never from the network."""
    named = [os.environ.get("TIKTOKEN_CACHE_DIR"), str(Path(__file__).parents[3] / "shared" / "tiktoken")]
    files = [RANK_FILES[name].cached_name for name in ("cl100k_base", "o200k_base")]
    folder = next((each for each in named if each and all((Path(each) / name).is_file() for name in files)), None)
    if folder is None:
        pytest.skip("no rank files: neither TIKTOKEN_CACHE_DIR nor ../shared/tiktoken holds cl100k_base and o200k_base")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", folder)
        loader = EncodingLoader(download_timeout_s=0)
        loaded = [loader.load(name) for name in ("cl100k_base", "o200k_base")]
    found = [encoding for encoding in loaded if encoding is not None]
    assert len(found) == 2
    return found


def true_tokens(encodings: list[Encoding], text: str) -> int:
    return max(len(encoding.encode_ordinary(text)) for encoding in encodings)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_never_estimated_below_its_true_count(name: str, encodings: list[Encoding]) -> None:
    text = SAMPLES[name]
    assert estimate_tokens(text) >= true_tokens(encodings, text)


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_word_by_itself_is_never_estimated_below_its_true_count(name: str, encodings: list[Encoding]) -> None:
    for word in LANGUAGES[name].split():
        for form in (word, " " + word, word.upper(), word.title(), f'"{word}"', f"({word})\n"):
            assert estimate_tokens(form) >= true_tokens(encodings, form), form


@pytest.mark.parametrize("joint", JOINTS)
def test_a_word_over_and_over_is_never_estimated_below_its_true_count(joint: str, encodings: list[Encoding]) -> None:
    below = [word for word in WORDS if estimate_tokens(text := joint.join([word] * 8)) < true_tokens(encodings, text)]
    assert not below


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_estimate_of_a_language_is_below_twice_its_true_count(name: str, encodings: list[Encoding]) -> None:
    text = LANGUAGES[name]
    assert estimate_tokens(text * 10) < 2 * true_tokens(encodings, text * 10)


@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=60), joint=st.sampled_from(JOINTS))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_words_of_all_languages_together_are_never_estimated_below(
    words: list[str], joint: str, encodings: list[Encoding]
) -> None:
    text = joint.join(words)
    assert estimate_tokens(text) >= true_tokens(encodings, text)


@given(st.text(max_size=400))
@settings(max_examples=300, deadline=None)
def test_the_estimate_never_exceeds_the_bytes_of_any_text(text: str) -> None:
    assert estimate_tokens(text) <= len(text.encode("utf-8", "surrogatepass"))


@given(st.text(min_size=1, max_size=400))
@settings(max_examples=300, deadline=None)
def test_the_estimate_of_any_text_is_positive(text: str) -> None:
    assert estimate_tokens(text) >= 1


def test_no_text_costs_nothing() -> None:
    assert estimate_tokens("") == 0


def test_a_lone_surrogate_is_counted() -> None:
    assert 1 <= estimate_tokens("\ud83d") <= 3


def test_a_long_text_is_estimated_slice_by_slice_as_its_parts_are() -> None:
    part = "It is what it is. " * 100
    count = 3 * SLICE_CHARS // len(part)
    assert estimate_tokens(part * count) == pytest.approx(count * (estimate_tokens(part) - 1), rel=0.01)


@pytest.mark.parametrize("character", ["a", "A", "1", " ", "\n", "\t", "é", "д", "中", "(", "-"])
def test_twice_a_run_costs_about_twice(character: str) -> None:
    once, twice = (estimate_tokens(character * count) for count in (50_000, 100_000))
    assert twice == pytest.approx(2 * once, rel=0.01)


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("words_one_token.txt", ""),
        ("words_one_token.txt", " "),
        ("words_one_token_after_space.txt", " "),
        ("marks_one_token.txt", ""),
        ("marks_one_token_after_space.txt", " "),
    ],
)
def test_what_is_listed_as_one_token_is_one_token(name: str, before: str, encodings: list[Encoding]) -> None:
    entries = listed(name)
    assert entries
    assert not [entry for entry in entries if true_tokens(encodings, before + entry) != 1]


def test_of_listed_words_with_a_common_ending_hardly_one_is_dearer_than_estimated(encodings: list[Encoding]) -> None:
    forms = [
        " " + word + ending
        for word in listed("words_one_token.txt")
        if len(word) > 3 and word.isascii() and word[1:].islower()
        for ending in ("s", "ed", "ing", "ly")
    ]
    below = [form for form in forms if estimate_tokens(form) < true_tokens(encodings, form)]
    assert len(below) < len(forms) / 100, "most of these forms are no words at all"


def test_no_character_costs_more_by_itself_than_its_table_says(encodings: list[Encoding]) -> None:
    costs = CharacterCosts()
    points = (*range(0x80, 0xD800), *range(0xE000, 0x1FC00), *range(0x20000, 0x20400))
    assert not [hex(point) for point in points if costs[chr(point)] < true_tokens(encodings, chr(point))]

use metaclaw_policy::prelude::*;

/// A category, and the words by which a turn belongs to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Category {
    /// As the skills' front matter has it.
    pub name: String,
    /// In lower case; a phrase is a word as well.
    pub words: Vec<String>,
}

/// MetaClaw's categories in its order, with words for each.
const USUAL: [(&str, &str); 8] = [
    (
        "coding",
        "code,bug,debug,function,compile,compiler,refactor,test,tests,api,python,rust,javascript,git,stack trace",
    ),
    ("research", "research,paper,papers,study,literature,cite,citation,sources,survey,evidence"),
    ("data_analysis", "data,dataset,csv,chart,plot,statistics,sql,spreadsheet,table,average,correlation"),
    ("productivity", "plan,schedule,calendar,todo,task,tasks,meeting,agenda,deadline,remind,organise,organize"),
    ("security", "security,vulnerability,password,encrypt,encryption,exploit,attack,permission,secret,token"),
    ("communication", "email,mail,letter,message,reply,write,draft,announce,translate,tone"),
    ("automation", "automate,automation,script,cron,pipeline,workflow,deploy,ci,container"),
    ("agentic", "agent,agents,tool,tools,browse,step by step,delegate,orchestrate"),
];

impl Category {
    /// Whether one of its words is in a text, which is in lower case.
    pub fn fits(&self, text: &str, substrings: bool) -> bool {
        self.words.iter().any(|word| if substrings { text.contains(word.as_str()) } else { stands_in(text, word) })
    }
}

/// Whether a word stands in a text with neither letters nor digits around it.
fn stands_in(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        ![before, after].into_iter().flatten().any(char::is_alphanumeric)
    })
}

pub fn usual() -> Vec<Category> {
    let words = |words: &str| words.split(',').map(str::to_owned).collect();
    USUAL.iter().map(|(name, list)| Category { name: (*name).to_owned(), words: words(list) }).collect()
}

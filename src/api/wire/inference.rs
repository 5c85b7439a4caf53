//! Requests of the basic inference API. Where a route takes what one of the general API takes, the two share a type.

use super::basic_request;

basic_request! {
    /// Text fields of `/inference_zero_shot`; the recording comes beside them as the file `prompt_wav`.
    pub InferenceZeroShot {
        /// Text to speak.
        pub tts_text: String,
        /// What is said in the recording.
        pub prompt_text: String,
    }
}

basic_request! {
    /// Text fields of `/inference_cross_lingual`; the recording comes beside them.
    pub InferenceCrossLingual {
        /// Text to speak.
        pub tts_text: String,
    }
}

basic_request! {
    /// Text fields of `/inference_instruct2`; the recording comes beside them.
    pub InferenceInstruct2 {
        /// Text to speak.
        pub tts_text: String,
        /// How to speak.
        pub instruct_text: String,
    }
}
